"""What is kept of every trial: a file each while the search runs, one Parquet file at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medsweep.finetune.epochs import EPOCH_FIGURES
from medsweep.results.schema import Column
from medsweep.results.store import read_json, write_json

COLUMNS: tuple[Column, ...] = (
    Column("trial", "text", "", "identity of the trial: model, data and recipe"),
    Column("max_seq_length", "integer", "1", "tokens that are kept of a sequence"),
    Column("rank", "integer", "1", "LoRA rank"),
    Column("alpha", "integer", "1", "LoRA scaling"),
    Column("dropout", "number", "1", "LoRA dropout"),
    Column("status", "text", "", "finished, stopped (given up early), or failed"),
    Column("reason", "text", "", "why it failed"),
    Column("epoch", "integer", "1", "epoch of this row; null where none was reached"),
    Column("loss", "number", "1", "nats of an answer token in training"),
    Column("eval_loss", "number", "1", "nats of an answer token of the evaluation side"),
    Column("token_f1", "number", "1", "token F1, mean over the evaluation questions"),
    Column("rouge_l", "number", "1", "ROUGE-L, mean over the evaluation questions"),
    Column("corpus_bleu", "number", "1", "BLEU over all answers"),
    Column("ngram_match", "number", "1", "share of the reference's n-grams in the answer, mean"),
    Column("tokens", "integer", "1", "tokens learnt from in the epoch, padding not counted"),
    Column("seconds", "number", "s", "training time of the epoch"),
    Column("tokens_per_s", "number", "1/s", "tokens over seconds"),
    Column("peak_gpu_memory_bytes", "integer", "B", "most that was allocated; null without a GPU"),
)


@dataclass
class Record:
    """One trial so far.

    Attributes:
        trial: its identity.
        point: value by parameter.
        status: `running` until it is finished or failed.
        reason: why it failed.
        rows: what was found after each epoch, from 1 on.
    """

    trial: str
    point: dict[str, Any]
    status: str = "running"
    reason: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to train."""
        return self.status != "running"

    def write(self, folder: Path) -> None:
        """Keep it in its file, whole."""
        write_json(folder / f"{self.trial}.json", asdict(self))


def read_record(folder: Path, trial: str, point: Mapping[str, Any]) -> Record:
    """Return the record of a trial; a new one where there is none."""
    found = read_json(folder / f"{trial}.json")
    return Record(**found) if found else Record(trial, dict(point))


def kept(row: Mapping[str, Any], peak_gpu_memory_bytes: int | None) -> dict[str, Any]:
    """Return what a record keeps of one epoch's row of `training.parquet`."""
    names = ("epoch", "loss", *EPOCH_FIGURES, "tokens", "seconds")
    return {
        **{name: row[name] for name in names},
        "tokens_per_s": row["tokens"] / row["seconds"] if row["seconds"] else None,
        "peak_gpu_memory_bytes": peak_gpu_memory_bytes,
    }


def table(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the rows of `search.parquet`: one for each epoch of each trial."""
    rows = []
    for record in sorted(records, key=lambda record: list(record.point.values())):
        # Nothing runs any more: a trial that is neither finished nor failed was given up.
        status = record.status if record.done else "stopped"
        head = {"trial": record.trial, **record.point, "status": status, "reason": record.reason}
        rows += [{**head, **row} for row in record.rows or [{}]]
    return rows


def last_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the last row of each finished trial."""
    last = {row["trial"]: row for row in rows if row["status"] == "finished"}
    return list(last.values())


def common_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each trial's row at the last epoch that every trial reached; failed ones are left out.

    At that epoch no trial is missing because it did badly, so the values can be compared.
    """
    reached = {row["trial"]: row["epoch"] for row in rows if row["status"] != "failed"}
    common = min((epoch or 0 for epoch in reached.values()), default=0)
    return [row for row in rows if row["status"] != "failed" and row.get("epoch") == common]
