"""A decoding step is the same whether it is computed anew or repeated as a graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medsweep.serving.engines.decode import Decoder
from medsweep.serving.engines.kv import Slots
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import LowRankPair
from recorded_graphs import RecordedGraphs

pytestmark = pytest.mark.slow

ROWS = 5
STEPS = 6
PROMPTS = ([3, 4, 5, 6], [7], [8, 9, 10], [11, 12])
NAMES = ("a", None, "b", "a")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    made: Any
    if request.param == "llama":
        made = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=128,
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                initializer_range=0.2,
            )
        )
    else:
        made = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=128,
                n_embd=64,
                n_layer=2,
                n_head=4,
                n_positions=512,
                initializer_range=0.2,
            )
        )
    folder: Path = tmp_path_factory.mktemp(request.param)
    made.save_pretrained(folder)
    return folder


def targets(model: LoraModel) -> list[str]:
    names = ("q_proj", "down_proj", "c_attn", "c_fc")
    return [name for name, _ in model.model.named_modules() if name.endswith(names)]


class Batch:
    """Rows of several lengths with several adapters, prefilled and ready to be decoded."""

    def __init__(self, base: Path, graphs: bool) -> None:
        self.model = LoraModel(base, dtype="float32", quantization="none", flash=False, rows=ROWS)
        self.model.adapters._whole = graphs
        for seed, (name, rank) in enumerate((("a", 4), ("b", 2), ("c", 80))):
            self.add(name, rank, seed)
        longest = 512 if graphs else 0
        self.slots = Slots(ROWS, ROWS * 512, self.model.first_cache(), longest=longest)
        self.names: list[str | None] = []
        self.decoder = Decoder(self.model, self.slots, ROWS, "no graphs")
        self.graphs: RecordedGraphs | None = None
        if graphs:
            self.graphs = RecordedGraphs(self.slots.lengths)
            self.decoder = Decoder(self.model, self.slots, ROWS, self.graphs)
            self.graphs._state += (self.decoder.tokens,)

    def add(self, name: str, rank: int, seed: int) -> None:
        torch.manual_seed(seed)
        pairs = {}
        for place in targets(self.model):
            weight = self.model.model.get_submodule(place).weight
            inputs, outputs = weight.shape if "c_" in place else weight.shape[::-1]
            pairs[place] = LowRankPair(torch.randn(inputs, rank) * 0.1, torch.randn(rank, outputs))
        self.model.add(name, pairs)

    def admit(self, prompts: Any, names: Any) -> list[int]:
        from transformers import DynamicCache

        self.names += names
        tokens = []
        with torch.inference_mode():
            for prompt, name in zip(prompts, names, strict=True):
                cache = DynamicCache()
                logits = self.model.logits(
                    [name], input_ids=torch.tensor([prompt]), past_key_values=cache
                )
                self.slots.admit([(each.keys, each.values) for each in cache.layers], [0], [500])
                tokens.append(int(logits.argmax()))
        return tokens

    def decode(self, steps: int) -> list[list[int]]:
        with torch.inference_mode():
            return [self.decoder.step(self.names).likeliest.finish() for _ in range(steps)]


def answers(base: Path, graphs: bool) -> tuple[Any, Batch]:
    """Tokens of rows that come and go."""
    batch = Batch(base, graphs)
    if graphs:
        batch.decoder.warm_up()
    first = batch.admit(PROMPTS, NAMES)
    batch.decoder.put(first)
    found = [first, *batch.decode(STEPS)]
    batch.slots.evict(1)
    batch.names[1] = batch.names.pop()
    last = found[-1]
    batch.decoder.put([last[0], last[3], last[2]])
    found += batch.decode(STEPS)
    last = found[-1]
    batch.decoder.put([*last, *batch.admit([[13, 14]], ["c"])])  # more columns than there are
    found += batch.decode(STEPS)
    return found, batch


def test_graphs_repeat_what_a_step_computes(base: Path) -> None:
    expected, _ = answers(base, graphs=False)
    found, batch = answers(base, graphs=True)
    assert found == expected
    assert len({token for step in expected for token in step}) > 8
    assert batch.graphs is not None
    assert batch.decoder.refused is None
    assert batch.graphs.replays >= 3 * STEPS - 1
    assert {key[:2] for key in batch.decoder._captured} >= {(4, 256), (4, 512)}


def test_one_alone_says_what_it_says_among_others(base: Path) -> None:
    together, _ = answers(base, graphs=True)
    for place, (prompt, name) in enumerate(zip(PROMPTS, NAMES, strict=True)):
        batch = Batch(base, graphs=True)
        batch.decoder.put(batch.admit([prompt], [name]))
        alone = [step[0] for step in batch.decode(STEPS)]
        assert alone == [step[place] for step in together[1 : STEPS + 1]]


def test_a_step_that_cannot_be_captured_is_computed_and_said(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = answers(base, graphs=False)

    class Fails(RecordedGraphs):
        def capture(self, compute: Callable[[], Any]) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    batch = Batch(base, graphs=True)
    batch.decoder = Decoder(batch.model, batch.slots, ROWS, Fails())
    first = batch.admit(PROMPTS, NAMES)
    batch.decoder.put(first)
    assert [first, *batch.decode(STEPS)] == expected[: STEPS + 1]
    assert batch.decoder.refused == (
        "a step cannot be captured: RuntimeError: operation not permitted when stream is capturing"
    )
    assert caplog.text.count("decoding without CUDA graphs, which is slower: a step cannot") == 1


def test_a_graph_that_computes_something_else_is_not_used(base: Path) -> None:
    expected, _ = answers(base, graphs=False)

    class Stale(RecordedGraphs):
        """A graph that reads something else than the step."""

        def capture(self, compute: Callable[[], Any]) -> Any:
            replay, logits = super().capture(compute)

            def wrong() -> None:
                replay()
                logits.copy_(logits.flip(-1))

            return wrong, logits

    batch = Batch(base, graphs=True)
    stale = Stale(batch.slots.lengths)
    batch.decoder = Decoder(batch.model, batch.slots, ROWS, stale)
    stale._state += (batch.decoder.tokens,)
    first = batch.admit(PROMPTS, NAMES)
    batch.decoder.put(first)
    assert [first, *batch.decode(STEPS)] == expected[: STEPS + 1]
    assert batch.decoder.refused is not None
    assert batch.decoder.refused.startswith("a graph's logits deviate by ")
