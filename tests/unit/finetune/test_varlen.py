import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from medsweep.errors import StageError
from medsweep.finetune import varlen
from medsweep.finetune.data import Example, collate
from medsweep.finetune.loss import answer_nats
from medsweep.finetune.varlen import adopt, adopted, check_packing, flatten, try_on

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}


def reference(
    inputs: list[torch.Tensor],
    starts: torch.Tensor,
    longest: int,
    *,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    """The kernel by its definition: a band of the causal mask within each sequence."""
    tokens = torch.arange(len(inputs[0]))
    owner = torch.searchsorted(starts[1:].long(), tokens, right=True)
    assert int((starts[1:] - starts[:-1]).max()) == longest
    mask = ((owner[:, None] == owner) & (tokens[:, None] >= tokens)).clone()
    if window is not None:
        mask &= tokens[:, None] - tokens < window
    query, key, value = (each.transpose(0, 1)[None] for each in inputs)
    attended = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=True
    )
    return attended[0].transpose(0, 1)


def leaking(
    inputs: list[torch.Tensor], starts: torch.Tensor, _: int, **options: Any
) -> torch.Tensor:
    one = torch.tensor([0, int(starts[-1])], dtype=torch.int32)
    return reference(inputs, one, int(starts[-1]), **options)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Put a function in the place of PyTorch's kernel, which needs a GPU."""
    return lambda function: monkeypatch.setattr(varlen, "_kernel", function)


def model(name: str, **changes: Any) -> Any:
    import transformers

    sizes = {} if name == "GPT2" else SIZES | ({"head_dim": 8} if name != "Llama" else {})
    if name == "GPT2":
        sizes = {"vocab_size": 60, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = getattr(transformers, f"{name}Config")(**(sizes | changes))
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def examples(*lengths: int) -> list[Example]:
    torch.manual_seed(1)
    return [Example(tuple(torch.randint(60, (length,)).tolist()), 3) for length in lengths]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Llama", {}),
        ("Gemma", {}),
        ("Mistral", {"sliding_window": 4}),
        ("Qwen3", {}),
        ("GPT2", {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
    ],
)
def test_a_row_without_padding_gives_the_loss_and_the_gradients(
    name: str, changes: dict[str, Any], kernel: Callable[[Any], None]
) -> None:
    kernel(reference)
    plain, ours = model(name, **changes), model(name, **changes)
    assert try_on(ours, "cpu", torch.float32)
    assert adopted(ours)
    assert not adopted(plain)
    one, two, three = examples(12, 7, 20)
    expected = answer_nats(plain, collate([(one,), (two,), (three,)], 0))
    flat = flatten([(one, two), (three,)])
    assert flat["input_ids"].shape == (1, 39)
    assert flat["cu_seq_lens_q"].tolist() == [0, 12, 19, 39]
    found = answer_nats(ours, flat)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.autograd.backward([found, expected])
    for own, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert torch.allclose(own.grad, other.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_it_answers_questions_as_before(kernel: Callable[[Any], None]) -> None:
    kernel(reference)
    plain, ours = model("Llama"), model("Llama")
    assert try_on(ours, "cpu", torch.float32)
    ids = torch.tensor([[0, 0, 5, 6], [1, 2, 3, 4]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    asked = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(ours.generate(**asked), plain.generate(**asked))


@pytest.mark.slow
def test_it_stays_away_where_the_results_are_not_those_of_sdpa(
    kernel: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    kernel(leaking)
    refused = model("Llama")
    assert not try_on(refused, "cpu", torch.float32)
    assert refused.config._attn_implementation == "sdpa"
    assert "the kernel's results differ from those of sdpa" in caplog.text
    # The kernel is right, but the model has dropout of its attention.
    kernel(reference)
    dropping = model("GPT2")
    assert not try_on(dropping, "cpu", torch.float32)
    assert not dropping.training
    assert "the kernel has neither dropout" in caplog.text


@pytest.mark.slow
def test_a_model_that_loses_the_kernel_s_arguments_is_noticed(
    kernel: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    kernel(reference)
    attend = varlen.attend

    def forgetful(*given: Any, **options: Any) -> Any:
        return attend(*given, **{n: each for n, each in options.items() if "cu_seq" not in n})

    monkeypatch.setattr(varlen, "attend", forgetful)
    assert not try_on(model("Llama"), "cpu", torch.float32)
    assert "standard deviations" in caplog.text


def test_without_the_kernel_nothing_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    untouched = model("Llama")
    assert not adopt(untouched, "cpu", torch.bfloat16)
    assert not caplog.text
    # PyTorch's own refuses a CPU.
    assert not try_on(untouched, "cpu", torch.bfloat16)
    assert untouched.config._attn_implementation == "sdpa"
    assert "attention stays sdpa" in caplog.text


def test_pytorch_s_kernel_takes_these_arguments() -> None:
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    assert [*known][:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert {"scale", "window_size", "enable_gqa"} <= known.keys()


def test_models_that_mix_the_sequences_of_a_row_are_refused() -> None:
    import transformers

    for name in ("Llama", "Gemma", "GPT2"):
        check_packing(model(name), "cpu")
    sizes = {name: SIZES[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    config = transformers.FalconConfig(**sizes, num_attention_heads=2, initializer_range=0.3)
    falcon = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(StageError, match="packed: FalconForCausalLM does not keep the sequences"):
        check_packing(falcon, "cpu")
