"""Records of trials: one file per trial while the search runs, one Parquet file at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medsweep.finetune.epochs import EPOCH_FIGURES
from medsweep.results.column import Column
from medsweep.results.store import read_json, write_json

PARAMETERS = ("max_seq_length", "rank", "alpha", "dropout")

Point = dict[str, Any]
"""Value by parameter."""

COLUMNS: tuple[Column, ...] = (
    Column("trial", "text", "", "identity of the trial: model, data and recipe"),
    Column("max_seq_length", "integer", "1", "tokens of a sequence that are kept"),
    Column("rank", "integer", "1", "LoRA rank"),
    Column("alpha", "integer", "1", "LoRA scaling"),
    Column("dropout", "number", "1", "LoRA dropout"),
    Column("status", "text", "", "finished, stopped (early, by ASHA), or failed"),
    Column("reason", "text", "", "why it failed"),
    Column("epoch", "integer", "1", "epoch of this row; null if none was reached"),
    Column("loss", "number", "1", "nats per answer token in training"),
    Column("eval_loss", "number", "1", "nats per answer token on the evaluation side"),
    Column("token_f1", "number", "1", "token F1, mean over the evaluation questions"),
    Column("rouge_l", "number", "1", "ROUGE-L, mean over the evaluation questions"),
    Column("corpus_bleu", "number", "1", "BLEU over all answers"),
    Column("ngram_match", "number", "1", "share of the reference's n-grams in the answer, mean"),
    Column("tokens", "integer", "1", "tokens trained on in the epoch, without padding"),
    Column("seconds", "number", "s", "training time of the epoch"),
    Column("tokens_per_s", "number", "1/s", "tokens over seconds"),
    Column("peak_gpu_memory_bytes", "integer", "B", "peak allocation; null without a GPU"),
)


@dataclass
class Record:
    """One trial, as far as it has run.

    Attributes:
        trial: its identity.
        point: value by parameter.
        status: `running`, `finished` or `failed`.
        reason: why it failed.
        rows: figures of each epoch, from 1 on.
    """

    trial: str
    point: Point
    status: str = "running"
    reason: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.status != "running"

    def write(self, folder: Path) -> None:
        """Write it to its file, atomically."""
        write_json(folder / f"{self.trial}.json", asdict(self))


def read_record(folder: Path, trial: str, point: Point) -> Record:
    """Return the record of a trial; a new one if there is none."""
    stored = read_json(folder / f"{trial}.json")
    return Record(**stored) if stored else Record(trial, dict(point))


def kept(row: Mapping[str, Any], peak_gpu_memory_bytes: int | None) -> dict[str, Any]:
    """Return the part of a row of `training.parquet` that a record keeps."""
    names = ("epoch", "loss", *EPOCH_FIGURES, "tokens", "seconds")
    return {
        **{name: row[name] for name in names},
        "tokens_per_s": row["tokens"] / row["seconds"] if row["seconds"] else None,
        "peak_gpu_memory_bytes": peak_gpu_memory_bytes,
    }


def table(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the rows of `search.parquet`: one per epoch of each trial."""
    rows = []
    for record in sorted(records, key=lambda record: list(record.point.values())):
        # The search is over: a trial that neither finished nor failed was stopped early.
        status = record.status if record.done else "stopped"
        head = {"trial": record.trial, **record.point, "status": status, "reason": record.reason}
        rows += [{**head, **row} for row in record.rows or [{}]]
    return rows


def last_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the last row of each finished trial."""
    last = {row["trial"]: row for row in rows if row["status"] == "finished"}
    return list(last.values())


def common_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each trial's row at the last epoch that all trials reached; failed ones are left out.

    At that epoch no trial is missing because it did badly, so the values can be compared.
    """
    reached = {row["trial"]: row["epoch"] for row in rows if row["status"] != "failed"}
    common = min((epoch or 0 for epoch in reached.values()), default=0)
    return [row for row in rows if row["status"] != "failed" and row.get("epoch") == common]
