"""A small folder of results whose answers can be reviewed."""

from __future__ import annotations

from pathlib import Path

from made_rows import BLANK, UNANSWERED, row
from medsweep.results.schema import BENCHMARK, RESPONSES
from medsweep.results.store import write_rows

QUESTIONS = 4


def results(folder: Path, *, texts: bool = True, questions: int = QUESTIONS) -> Path:
    """Write results of one cell with both variants; on the first question they answer alike."""
    rows = [row(key="k", model="small-model", variant=each) for each in ("adapter", "base")]
    write_rows(folder / "benchmark.parquet", BENCHMARK, [BLANK | each for each in rows])
    answers = [
        {
            **UNANSWERED,
            "load_point": "c2",
            "repeat": 1,
            "variant": variant,
            "index": n,
            "question_id": f"q{n}",
            "question": f"What is <illness> {n}?" if texts else None,
            "reference": "Rest." if texts else None,
            "answer": ("Same." if n == 0 else f"{word} {n}.") if texts else None,
            "token_f1": 0.5,
        }
        for variant, word in (("adapter", "Water & rest"), ("base", "Nothing"))
        for n in range(questions)
    ]
    write_rows(folder / "cells" / "k" / "responses.parquet", RESPONSES, answers)
    return folder
