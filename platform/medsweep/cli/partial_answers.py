"""Asks many questions; answers of a run that was stopped or had failures are kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

from medsweep.cli.asking import Ask
from medsweep.cli.options import Progress
from medsweep.errors import MedSweepError

UNREACHABLE = 3
"""Unanswered questions in a row that end the run, beside those that were asked at that time."""


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


class Asker:
    """Asks questions, and shows how many are answered.

    Args:
        ask: asks one.
        total: how many there are.
        concurrency: questions at a time.
        partial: answers of a run that was stopped; new ones are stored there.

    Attributes:
        failed: number of questions that were not answered.
    """

    def __init__(self, ask: Ask, total: int, concurrency: int, partial: PartialAnswers) -> None:
        self.failed = 0
        self._concurrency, self._partial = concurrency, partial
        self._ask, self._in_a_row, self._lock = ask, 0, Lock()
        self._progress = Progress(total, "answers")

    def answers(self, questions: Sequence[str]) -> list[tuple[str | None, str | None]]:
        """Return the answer to each question, and why there is none.

        Raises:
            MedSweepError: several in a row were not answered.
        """
        try:
            if self._concurrency == 1:
                return list(map(self._answer, questions, keys(questions)))
            with ThreadPoolExecutor(self._concurrency) as pool:
                return list(pool.map(self._answer, questions, keys(questions)))
        finally:
            self._progress.clear()

    def _answer(self, question: str, key: str) -> tuple[str | None, str | None]:
        if (known := self._partial.answers.get(key)) is not None:
            with self._lock:
                self._progress.step()
            return known, None
        parts: list[str] = []
        reason: str | None = None
        try:
            self._ask(question, parts.append)
        except MedSweepError as error:
            reason = str(error)
            with self._lock:
                self.failed += 1
                self._in_a_row += 1
                # A server that starts anew has dropped all requests in flight at once.
                if self._in_a_row >= UNREACHABLE + self._concurrency - 1:
                    raise
        with self._lock:
            if reason is None:
                self._in_a_row = 0
                self._partial.add(key, "".join(parts))
            self._progress.step()
        return (None, reason) if reason else ("".join(parts), None)
