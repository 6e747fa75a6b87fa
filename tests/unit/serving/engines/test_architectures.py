"""Each of the five architectures: `continuous` says what `generate` says, token for token."""

from pathlib import Path
from typing import Any

import pytest
import torch

from asking import Asker, text
from medsweep.finetune.adapter import read_adapter
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.decode import Decoder
from medsweep.serving.protocol import EngineSettings, Generation
from recorded_graphs import RecordedGraphs

pytestmark = pytest.mark.slow

STAND_INS = [name for name, spec in MODELS.items() if spec.source == "standin"]
PROMPTS = ["Asthma is", "Type 2 diabetes can be treated with", "The", "People with gout should"]


def test_all_five_are_here() -> None:
    assert len(STAND_INS) == 5


@pytest.fixture(params=STAND_INS)
def name(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def two_adapters(
    name: str, corpus: tuple[str, ...], session_cache: Path, tmp_path: Path
) -> dict[str, Any]:
    """Two adapters with weights drawn at random, so that each changes what is said."""
    from transformers import AutoModelForCausalLM

    spec = MODELS[name]
    base = fetch_weights(identify(spec, corpus[:100]))
    made = {}
    for seed, adapter in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = add_lora(
            AutoModelForCausalLM.from_pretrained(base),
            rank=4,
            alpha=8,
            dropout=0.0,
            targets=spec.lora_targets,
        )
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        card = {"model": name, "base": str(base), "base_sha256": "0", "template": spec.template}
        save_adapter(
            tmp_path / adapter,
            model,
            card={**card, "stop_tokens": list(spec.stop_tokens)},
            epochs=[{"epoch": 1}],
            provenance={},
        )
        made[adapter] = read_adapter(tmp_path / adapter)
    return made


def with_graphs(engine: Any) -> None:
    """Let `continuous` work as it does on a GPU, with graphs that are recorded on the CPU."""
    engine._model.adapters._whole = True
    graphs = RecordedGraphs(engine._slots.lengths)
    engine._decoder = Decoder(engine._model, engine._slots, 3, graphs)
    graphs._state += (engine._decoder.tokens,)
    engine._decoder.runs_ahead = True  # the tokens of a step are read when the next one has begun


async def test_the_same_greedy_tokens(name: str, two_adapters: dict[str, Any]) -> None:
    models = ["one", name, "two"]
    said = []
    for kind in ("generate", "continuous", "continuous with graphs"):
        settings = EngineSettings(
            kind.partition(" ")[0],
            MODELS[name],
            "float32",
            max_batch_size=3,
            cpus=1,
            adapters=two_adapters,
        )
        engine: Any = open_engine(settings)
        if kind.endswith("graphs"):
            with_graphs(engine)
        asker = Asker(engine, [])
        requests = [
            # Lengths differ, so that rows leave and others take their places.
            Generation(model, None, prompt, 4 + 5 * number + place)
            for number, prompt in enumerate(PROMPTS)
            for place, model in enumerate(models)
        ]
        answers = await asker.together(requests)
        engine.close()
        said.append([(text(pieces), pieces[-1].output_tokens) for pieces in answers])
        if kind.endswith("graphs"):
            assert engine._decoder.refused is None
            assert engine._decoder._graphs.replays > 10
    assert said[0] == said[1]
    assert said[0] == said[2]
    by_model = [tuple(said[0][place :: len(models)]) for place in range(len(models))]
    assert len(set(by_model)) == 3
