"""Base weights in 8 and 4 bits under an adapter, beside the same rounding made here by hand."""

from typing import Any

import pytest

from asking import TOKENS, TUNED, Asker, text
from medsweep.finetune.adapter import Adapter
from medsweep.finetune.evaluate import answer_questions
from medsweep.metrics.quality import score_answer
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES
from medsweep.serving.engines import open_engine
from medsweep.serving.protocol import EngineSettings
from support import package

pytestmark = pytest.mark.slow

BASE = "standin-llama-3-8b"
LAYERS = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}
LIKENESS = 0.95
"""Token F1 to the answers of weights rounded here. What is left: bitsandbytes rounds the blocks'
scales of nf4 once more, and with int8 the activations too."""

# The quantiles of a normal distribution that NF4 rounds to (Dettmers et al., 2023, appendix E).
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
NF4_BLOCK = 64


def rounded(weight: Any, quantization: str) -> Any:
    """A weight as it is after rounding: int8 by row, nf4 by blocks of 64."""
    import torch

    if quantization == "int8":
        scale = weight.abs().amax(-1, keepdim=True) / 127
        return (weight / scale).round() * scale
    blocks = weight.reshape(-1, NF4_BLOCK)
    scale = blocks.abs().amax(1, keepdim=True)
    levels = torch.tensor(NF4)
    nearest = ((blocks / scale)[..., None] - levels).abs().argmin(-1)
    return (levels[nearest] * scale).reshape(weight.shape)


def rounded_rows(rows: Any) -> Any:
    """What LLM.int8 (Dettmers et al., 2022) multiplies: all but columns with a value above 6."""
    kept = (rows.abs() > 6).flatten(0, -2).any(0)
    return rows * kept + rounded(rows * ~kept, "int8")


@pytest.fixture(params=LAYERS)
def answered(request: Any, tuned: Adapter, questions: list[str]) -> tuple[str, list[str]]:
    """A quantization, and what rounded weights answer one at a time without an engine."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tuned.base, dtype=torch.float32)
    with torch.no_grad():
        for module in base.model.modules():
            if type(module) is torch.nn.Linear:
                module.weight.copy_(rounded(module.weight, request.param))
                if request.param == "int8":
                    module.register_forward_pre_hook(lambda _, given: rounded_rows(given[0]))
    tokenizer = AutoTokenizer.from_pretrained(tuned.base)
    answers = answer_questions(
        PeftModel.from_pretrained(base, tuned.folder).eval(),
        tokenizer,
        TEMPLATES[tuned.template],
        questions,
        stop_ids=tokenizer.convert_tokens_to_ids(list(tuned.stop_tokens)),
        max_tokens=TOKENS,
        batch_size=1,
    )
    return request.param, answers


@pytest.mark.parametrize("name", ["generate", "continuous"])
async def test_quantized_weights_answer_as_rounded_ones(
    name: str, answered: tuple[str, list[str]], tuned: Adapter, questions: list[str]
) -> None:
    package("bitsandbytes")
    quantization, expected = answered
    settings = EngineSettings(
        name, MODELS[BASE], "float32", quantization, 8, 1, adapters={TUNED: tuned}
    )
    engine: Any = open_engine(settings)
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
    assert sum(likeness) / len(likeness) > LIKENESS
    assert base != said[0]  # the adapter is applied
