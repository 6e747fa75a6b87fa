"""The rows of `training.parquet`, one per epoch, and how a worker reports them to its driver."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medsweep.finetune.loop import EpochStats
from medsweep.results.store import aside

QUALITY_FIGURES = {
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "corpus_bleu": "BLEU",
    "ngram_match": "n-gram match",
}
"""Columns of the quality figures that people are shown, with their names."""

EPOCH_FIGURES = ("eval_loss", *QUALITY_FIGURES)
"""Columns that compare epochs and recipes."""


def epoch_row(
    stats: EpochStats, eval_loss: float, quality: Mapping[str, float | None]
) -> dict[str, float | int | None]:
    """Return one row of `training.parquet`: the epoch's statistics, then its quality.

    Args:
        stats: of the epoch.
        eval_loss: nats per answer token on the evaluation side.
        quality: of `evaluate.grade`; empty where no question was asked.
    """
    return {**asdict(stats), "eval_loss": eval_loss, **quality}


def epoch_line(row: Mapping[str, Any]) -> str:
    """Return a row of `training.parquet` as a line of text."""
    figures = [
        f"{name} {row[key]:.3f}"
        for key, name in QUALITY_FIGURES.items()
        if row.get(key) is not None
    ]
    if row["loss"] is None:
        parts = ["base model", f"evaluation loss {row['eval_loss']:.3f}", *figures]
    else:
        parts = [f"loss {row['loss']:.3f}", f"evaluation loss {row['eval_loss']:.3f}", *figures]
        parts.append(f"{row['tokens']} tokens in {row['seconds']:.1f} s")
    return f"epoch {row['epoch']}: {', '.join(parts)}"


class EpochLog:
    """A file to which one process appends epochs while another reads them.

    A writer that is killed may leave a part of a line. Readers skip it, and the writer that
    continues evaluates that epoch again.

    Args:
        path: of the file; `close` removes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._newest = -1
        path.unlink(missing_ok=True)

    @staticmethod
    def add(path: Path, row: Mapping[str, Any]) -> None:
        """Add a row of `training.parquet`, on a line of its own whatever the file ends with."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"\n" + json.dumps(dict(row)).encode() + b"\n")

    def new(self) -> list[dict[str, Any]]:
        """Return the rows added since the last call, without epochs that were repeated."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(complete + newline)
        fresh = []
        for line in complete.splitlines():
            with contextlib.suppress(ValueError):
                row: dict[str, Any] = json.loads(line)
                if row["epoch"] > self._newest:
                    fresh.append(row)
                    self._newest = row["epoch"]
        return fresh

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


class LatestStep:
    """A file with the newest step of a fine-tune, which one process writes and another reads.

    Args:
        path: of the file.
        every_s: a step that follows the last written one sooner, in seconds, is left out.
        now: reads the clock, in seconds.
    """

    def __init__(
        self, path: Path, every_s: float = 1.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._every_s, self._now = path, every_s, now
        self._wrote_s = float("-inf")

    def write(self, row: Mapping[str, Any]) -> None:
        """Replace the step, if the last one is old enough."""
        if self._now() - self._wrote_s < self._every_s:
            return
        self._wrote_s = self._now()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = aside(self._path)
        temporary.write_text(json.dumps(dict(row)))
        temporary.replace(self._path)

    def read(self) -> dict[str, Any] | None:
        """Return the newest step; None before the first."""
        try:
            row: dict[str, Any] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return None
        return row

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
