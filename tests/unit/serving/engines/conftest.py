"""The fine-tuned stand-in as engines take it, and what it answers without one."""

from typing import Any

import pytest

from asking import TOKENS
from medsweep.finetune.adapter import Adapter, read_adapter


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
