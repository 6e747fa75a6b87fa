"""How each fine-tune went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.figures.training import Training
from medsweep.report.numbers import bounds, share
from medsweep.report.table import (
    Column,
    ReportTable,
    TableCell,
    count,
    number,
    tabulate,
    text,
    texts,
)
from medsweep.report.tables.grouping import model_order
from medsweep.report.tables.quality import NAMES
from medsweep.results.aggregate import Row, distinct
from medsweep.results.reader import Results, TrainingRecord

_QUALITIES = {name: NAMES[name] for name in ("token_f1", "rouge_l", "ngram_match")}


@dataclass(frozen=True)
class Epoch:
    """One epoch of a fine-tune.

    Attributes:
        training: the fine-tune.
        row: of its `training.parquet`.
    """

    training: Training
    row: Row


def _quality(name: str, title: str) -> Column:
    def shown(epoch: Epoch) -> TableCell:
        low, high = (epoch.row.get(f"{name}_{end}") for end in ("low", "high"))
        return TableCell(share(epoch.row.get(name)), bounds(low, high, 3), kind="number")

    return Column(title, shown)


def _tokens_per_s(row: Row) -> float | None:
    taken_s, tokens = row.get("seconds"), row.get("tokens")
    return tokens / taken_s if taken_s and tokens else None


COLUMNS = (
    Column("Model", lambda epoch: text(epoch.training.model)),
    Column("Epoch", lambda epoch: count(epoch.row["epoch"])),
    Column(
        "Basis of its cells",
        lambda epoch: texts(epoch.training.bases, "no cell of it was measured"),
    ),
    Column(
        "Training loss", lambda epoch: number(epoch.row.get("loss"), "epoch 0 is before training")
    ),
    Column("Held-out loss", lambda epoch: number(epoch.row.get("eval_loss"))),
    *(_quality(*each) for each in _QUALITIES.items()),
    _quality("corpus_bleu", "Corpus BLEU"),
    Column("Time (s)", lambda epoch: number(epoch.row.get("seconds") or None)),
    Column("Tokens (1/s)", lambda epoch: number(_tokens_per_s(epoch.row))),
)


def training_table(trainings: Sequence[Training]) -> ReportTable:
    """Return the table of all epochs of each fine-tune; epoch 0 is the base model."""
    return tabulate(
        "Every epoch of each fine-tune: losses in nats per answer token, quality of the held-out "
        "questions with its interval over questions; epoch 0 is the base model",
        COLUMNS,
        [Epoch(each, row) for each in trainings for row in each.rows],
    )


def adapters_used(results: Results) -> list[Training]:
    """Return the records of the adapters that answered; all of a model if no row names one."""
    used = set(distinct(results.rows, "adapter_sha256"))
    records: dict[str, list[TrainingRecord]] = {}
    for record in results.training:
        records.setdefault(record.model, []).append(record)
    trainings: list[Training] = []
    for model in sorted(records, key=model_order):
        chosen = [each for each in records[model] if each.sha256 in used] or records[model]
        bases = distinct([row for row in results.rows if row["model"] == model], "basis")
        trainings += [
            Training(model if len(chosen) == 1 else each.folder, bases, each.rows)
            for each in chosen
        ]
    return trainings
