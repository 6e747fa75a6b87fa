"""The fine-tuned stand-in as engines take it, engines to ask, and what it answers without one."""

from collections.abc import Iterator
from typing import Any

import pytest

from asking import TOKENS, TUNED, Asker
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.models.catalog import MODELS
from medsweep.serving.engines.continuous import ContinuousEngine
from medsweep.serving.engines.generate import GenerateEngine
from medsweep.serving.protocol import EngineSettings

BASE = "standin-llama-3-8b"
ENGINES = {"generate": GenerateEngine, "continuous": ContinuousEngine}


def engine_settings(engine: str, **fields: Any) -> EngineSettings:
    """Settings of an engine on one CPU, with room for eight requests."""
    return EngineSettings(engine, MODELS[BASE], "float32", max_batch_size=8, cpus=1, **fields)


@pytest.fixture(scope="module", params=ENGINES)
def asker(request: Any, tuned: Adapter, questions: list[str]) -> Iterator[Asker]:
    """Each engine on a thread, with the adapter."""
    engine = ENGINES[request.param](engine_settings(request.param, adapters={TUNED: tuned}))
    yield Asker(engine, questions)
    engine.close()


@pytest.fixture(scope="session")
def questions(fine_tuned: Any) -> list[str]:
    return [pair.question for pair in fine_tuned.job.split.evaluation]


@pytest.fixture(scope="session")
def tuned(fine_tuned: Any) -> Adapter:
    return read_adapter(fine_tuned.job.folder)


@pytest.fixture(scope="session")
def expected(tuned: Adapter, questions: list[str]) -> list[str]:
    """Each question's greedy answer, one at a time without an engine."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from medsweep.finetune.evaluate import answer_questions
    from medsweep.models.templates import TEMPLATES

    base = AutoModelForCausalLM.from_pretrained(tuned.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tuned.base)
    answers = answer_questions(
        PeftModel.from_pretrained(base, tuned.folder).eval(),
        tokenizer,
        TEMPLATES[tuned.template],
        questions,
        stop_ids=tokenizer.convert_tokens_to_ids(list(tuned.stop_tokens)),
        max_tokens=TOKENS,
        tokens=1,  # one question at a time
    )
    return [answer.text for answer in answers]
