"""Base weights in 8 and 4 bits under an adapter: compared by quality, not word for word."""

from typing import Any

import pytest

from asking import TUNED, Asker, text
from medsweep.finetune.adapter import Adapter
from medsweep.metrics.quality import score_answer
from medsweep.models.catalog import MODELS
from medsweep.serving.engines.continuous import ContinuousEngine
from medsweep.serving.engines.generate import GenerateEngine
from support import package

pytestmark = pytest.mark.slow

BASE = "standin-llama-3-8b"
LAYERS = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}
LIKENESS = {"int8": 0.8, "nf4": 0.4}
"""Token F1 to the answers of whole weights; seen were 0.94 and 0.56, on a very small model."""


@pytest.mark.parametrize("made", [GenerateEngine, ContinuousEngine])
@pytest.mark.parametrize("quantization", LAYERS)
async def test_quantized_weights_answer_nearly_as_whole_ones(
    made: Any, quantization: str, tuned: Adapter, questions: list[str], expected: list[str]
) -> None:
    package("bitsandbytes")
    engine = made(
        MODELS[BASE],
        {TUNED: tuned},
        base=None,
        dtype="float32",
        quantization=quantization,
        max_batch_size=8,
        cpus=1,
    )
    modules = engine._model.model.modules()
    # PEFT's layers around them have the same names.
    ours = [kind for kind in map(type, modules) if kind.__module__.startswith("bitsandbytes")]
    kinds = [kind.__name__ for kind in ours]
    assert kinds.count(LAYERS[quantization]) == 7 * MODELS[BASE].layers
    asker = Asker(engine, questions)
    requests = [asker.request(number) for number in range(len(expected))]
    said = [text(pieces) for pieces in await asker.together(requests)]
    base = await asker.text(asker.request(0, BASE))
    engine.close()
    likeness = [score_answer(*pair).token_f1 for pair in zip(said, expected, strict=True)]
    assert sum(likeness) / len(likeness) > LIKENESS[quantization]
    assert base != said[0]  # the adapter is applied
