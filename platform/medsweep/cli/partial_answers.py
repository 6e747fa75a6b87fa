"""Answers of a run that was stopped or had failures, kept on disk until the run is complete."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class PartialAnswers:
    """Answers of a run that was stopped or had failures, with which the next run continues.

    Each is stored as soon as it is complete, without its question.

    Attributes:
        path: of the file; nobody else can read it, as the questions may be the user's own.
        answers: those of the earlier run by key.

    Args:
        folder: of the results.
        identity: of the model and how it is asked: another one has another file.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        from medsweep.json_lines import numbered_lines, parse

        self.path = folder / f"safety-{identity[:12]}.partial.jsonl"
        self.answers: dict[str, str] = {}
        if self.path.is_file():
            with self.path.open("rb") as file:
                for _, line in numbered_lines(file):
                    with suppress(ValueError, KeyError):  # a line that was cut off
                        row = parse(line)
                        self.answers[row["key"]] = row["answer"]

    def add(self, key: str, answer: str) -> None:
        """Store an answer, behind a line of an earlier run that was cut off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        with self.path.open("ab") as file:
            file.write(f"\n{json.dumps({'key': key, 'answer': answer})}\n".encode())


def keys(questions: Sequence[str]) -> list[str]:
    """Return a key of each question; one that is asked twice has two."""
    times: Counter[str] = Counter()
    keys = []
    for question in questions:
        times[question] += 1
        keys.append(hashlib.sha256(f"{times[question]} {question}".encode()).hexdigest())
    return keys
