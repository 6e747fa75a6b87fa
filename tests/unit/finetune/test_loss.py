from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsweep.datasets.spec import Pair
from medsweep.finetune import loss as module
from medsweep.finetune.data import IGNORED, Example, collate, encode
from medsweep.finetune.loss import answer_nats
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES

PAPER_FIVE = ["distilgpt2", "gemma-1.1-7b", "llama-3-8b", "llama-2-7b", "mistral-7b"]

PAIR = Pair("q", "What is asthma?", "Asthma is a disease of the airways.")


class Spy:
    """A model with even logits, which notes what it is asked to predict."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.predicts = torch.empty(0)

    def __call__(self, logits_to_keep: torch.Tensor, **_: Any) -> Any:
        self.predicts = logits_to_keep
        return SimpleNamespace(logits=torch.zeros(int(logits_to_keep.sum()), self.words))


@pytest.mark.parametrize("name", PAPER_FIVE)
def test_exactly_the_answer_and_its_end_are_predicted(name: str, make_tokenizer: Any) -> None:
    tokenizer, spec = make_tokenizer(name), MODELS[name]
    template = TEMPLATES[spec.template]
    example = encode(PAIR, template, tokenizer, 512)
    model = Spy(len(tokenizer))
    nats = answer_nats(model, collate([(example,)], tokenizer.pad_token_id, width=512))
    # A place predicts the token after it: from the prompt's last to the last but one.
    places = model.predicts[0].nonzero().flatten().tolist()
    assert places == list(range(example.prompt_tokens - 1, len(example.input_ids) - 1))
    predicted = [example.input_ids[place + 1] for place in places]
    answer = tokenizer(template.answer(PAIR.answer), add_special_tokens=False)["input_ids"]
    assert predicted == answer
    assert predicted[-1] in tokenizer.convert_tokens_to_ids(list(spec.stop_tokens))
    assert float(nats) == pytest.approx(len(answer) * torch.tensor(len(tokenizer)).log().item())


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
GPT2: dict[str, Any] = {
    "vocab_size": 60,
    "n_positions": 64,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "initializer_range": 0.3,
}


def examples(*lengths: int) -> list[Example]:
    torch.manual_seed(1)
    return [Example(tuple(torch.randint(60, (length,)).tolist()), 3) for length in lengths]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama", "Mistral", "Gemma", "GPT2"])
def test_packed_sequences_do_not_see_each_other(name: str) -> None:
    import transformers

    config = getattr(transformers, f"{name}Config")(**(GPT2 if name == "GPT2" else SIZES))
    if name == "Gemma":
        config.head_dim = 8
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    one, two, three = examples(12, 7, 20)
    alone = sum(answer_nats(model, collate([(each,)], 0)) for each in (one, two, three))
    padded = answer_nats(model, collate([(one,), (two,), (three,)], 0, width=40))
    packed = answer_nats(model, collate([(one, two), (three,)], 0))
    assert float(padded) == pytest.approx(float(alone), rel=1e-5)
    assert float(packed) == pytest.approx(float(alone), rel=1e-5)
    # In one causal row they would see each other, and the figure would differ.
    leaking = collate([(one, two), (three,)], 0)
    leaking["attention_mask"] = torch.ones_like(leaking["input_ids"])
    assert float(answer_nats(model, leaking)) != pytest.approx(float(alone), rel=1e-3)


@pytest.mark.slow
def test_a_filler_teaches_nothing() -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SIZES))
    nats = answer_nats(model, collate([(examples(9)[0],)], 0, learn=False))
    nats.backward()
    assert float(nats) == 0.0
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    assert len(gradients) > 5
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_give_pytorch_s_loss_and_gradient(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOSS_CHUNK", 5)
    torch.manual_seed(2)
    labels = torch.randint(11, (2, 9))
    labels[0, :4] = labels[1, 6:] = IGNORED
    start = torch.randn(2, 9, 11).to(dtype)

    def model(logits_to_keep: torch.Tensor, **_: Any) -> Any:
        # As a model does, the logits are the result of an operation on what is learnt.
        return SimpleNamespace(logits=(weights * 3)[logits_to_keep])

    weights = start.clone().requires_grad_()
    ours = answer_nats(model, {"labels": labels})
    (ours * 0.25).backward()
    assert weights.grad is not None
    plain = start.clone().requires_grad_()
    theirs = torch.nn.functional.cross_entropy(
        (plain * 3)[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="sum"
    )
    (theirs * 0.25).backward()
    assert plain.grad is not None
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    assert torch.allclose(weights.grad, plain.grad, rtol=1e-2 if dtype.itemsize == 2 else 1e-5)


def test_the_loss_keeps_one_tensor_of_logits_and_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk may be in float32 twice; the logits themselves are nowhere else."""
    monkeypatch.setattr(module, "LOSS_CHUNK", 8)
    count, words = 256, 500
    logits = torch.randn(1, count + 1, words, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(words, (1, count + 1))

    def model(logits_to_keep: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=logits[logits_to_keep])

    with torch.profiler.profile(profile_memory=True) as profiled:
        answer_nats(model, {"labels": labels}).backward()
    most = now = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    kept = count * words * 2
    # The selected logits, and the gradient of all of them that the selection's backward pass makes.
    assert 2 * kept < most < 2.2 * kept + 8 * words * 4 * 3
