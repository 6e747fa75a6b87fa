"""Answers that were made to be slow to grade, or that a broken model repeats without end."""

import time
from collections.abc import Callable

import pytest

from medsweep.metrics.agreement import agreement
from medsweep.metrics.choice import chosen
from medsweep.metrics.entities import MOST, entities, left_out, unsupported_entities
from medsweep.metrics.faulty_answers import is_refusal
from medsweep.metrics.quality import score_and_count
from medsweep.metrics.tokens import bleu_tokens, rouge_tokens, squad_tokens

LENGTH = 40_000

UNITS = {
    "spaces": " ",
    "lines": "\n",
    "tabs and lines": "\t\n",
    "full stops": ". ",
    "capitals": "A",
    "capital words": " A",
    "quoted capitals": " A'",
    "brackets": "(",
    "digits": "1",
    "decimals": "1.",
    "hyphens": "A-",
    "answers": "answer ",
    "answers is": "answer is ",
    "articles": "the ",
    "entities": "&amp;",
    "underscores": "_",
    "sorry": "i am sorry, ",
    "negations": "not no ",
    "doses": "5 mg ",
    "ranges": "1-2 to ",
    "sentences": "Not one two three. ",
    "units": "5 mg/",
    "sides": "left ",
    "modes": "not inherited autosomal recessive ",
}
GRADERS: dict[str, Callable[[str], object]] = {
    "entities": entities,
    "unsupported": lambda text: unsupported_entities(text, text[:100], text[::-1]),
    "left out": lambda text: left_out(text[::-1], "", text),
    "choice": lambda text: chosen(text, ["yes", "no"]),
    "squad": squad_tokens,
    "rouge": rouge_tokens,
    "bleu": bleu_tokens,
    "refusal": is_refusal,
    "agreement": lambda text: agreement(text, text[::-1] + text[7:]),
    "scores": lambda text: score_and_count(text, "Rest and water.")[0],
}


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_grading_takes_time_in_proportion_to_the_length(unit: str) -> None:
    """The slowest took 27 s for such a text."""
    body = UNITS[unit] * (LENGTH // len(UNITS[unit]))
    for text in (body, f"answer{body}x", f"{body}A", f"A{body}", f"x.{body}1x"):
        for name, grade in GRADERS.items():
            start = time.process_time()
            grade(text)
            assert time.process_time() - start < 2, name


def test_many_different_names_are_cut_off() -> None:
    text = " ".join(f"x Name-{number}" for number in range(5000))
    assert len(entities(text)) == MOST
    start = time.process_time()
    assert len(unsupported_entities(text, "", "Name- " * 10_000)) == MOST
    assert unsupported_entities(text, "", text) == []
    assert time.process_time() - start < 5
