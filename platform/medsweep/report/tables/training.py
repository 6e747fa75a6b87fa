"""How each fine-tune went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.figures.style import NOT_RECORDED
from medsweep.report.figures.training import Training
from medsweep.report.table import (
    MEANINGS,
    Column,
    ReportTable,
    TableCell,
    count,
    fraction,
    number,
    tabulate,
    text,
    time,
)
from medsweep.report.tables.grouping import model_order
from medsweep.report.tables.quality import NAMES, QualityFigure, quality
from medsweep.results.aggregate import Row, distinct
from medsweep.results.reader import Results, TrainingRecord
from medsweep.results.schema import QUALITY_BOUNDS

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
        row = epoch.row
        if (middle := row.get(name)) is None:
            return fraction(None)
        limits = {bound: row.get(f"{name}_{bound}") for bound in QUALITY_BOUNDS}
        ends = row.get(f"{name}_low"), row.get(f"{name}_high")
        return quality(QualityFigure(middle, *ends, None, **limits))

    return Column(title, shown)


def _share(name: str, title: str) -> Column:
    return Column(title, lambda epoch: fraction(epoch.row.get(name)), MEANINGS[name])


def _tokens_per_s(row: Row) -> float | None:
    taken_s, tokens = row.get("seconds"), row.get("tokens")
    return tokens / taken_s if taken_s and tokens else None


COLUMNS = (
    Column("Model", lambda epoch: text(epoch.training.model)),
    Column("Epoch", lambda epoch: count(epoch.row["epoch"])),
    Column("Fine-tuned on", lambda epoch: text(epoch.training.profile)),
    Column("Basis", lambda epoch: text(epoch.training.basis)),
    Column(
        "Training loss", lambda epoch: number(epoch.row.get("loss"), "epoch 0 is before training")
    ),
    Column("Held-out loss", lambda epoch: number(epoch.row.get("eval_loss"))),
    *(_quality(*each) for each in _QUALITIES.items()),
    _quality("corpus_bleu", "Corpus BLEU"),
    _share("truncated_share", "Truncated answers"),
    _share("long_references_share", "References too long"),
    Column("Time (s)", lambda epoch: time(epoch.row.get("seconds") or None)),
    Column("Tokens (1/s)", lambda epoch: number(_tokens_per_s(epoch.row))),
)


def training_table(trainings: Sequence[Training]) -> ReportTable:
    """Return the table of all epochs of each fine-tune; epoch 0 is the base model."""
    return tabulate(
        "Every epoch of each fine-tune: losses in nats per answer token, quality of the held-out "
        "questions with its interval over questions, and what the reference cut off at the "
        "longest answer gets (ceiling), another question's reference (floor) and no text (empty); "
        "epoch 0 is the base model. Profile and basis are those of the fine-tune, which may be "
        "others than those of the cells that serve its adapter",
        COLUMNS,
        [Epoch(each, row) for each in trainings for row in each.rows],
    )


def selection(record: TrainingRecord) -> tuple[str, ...]:
    """Return what of a fine-tune was chosen by the questions that its quality is reported on.

    Such quality is optimistic: of several candidates the one that was lucky on these questions is
    chosen more often.

    Args:
        record: of the fine-tune.
    """
    sentences = []
    patience, epochs = record.recipe.get("patience"), record.recipe.get("epochs")
    last = max((row["epoch"] for row in record.rows), default=0)
    if patience is not None and epochs is not None:
        end = f"stopped after epoch {last} of {epochs}" if last < epochs else "could have stopped"
        losses = [row["eval_loss"] for row in record.rows if row.get("eval_loss") is not None]
        fall = f"{max(losses) - min(losses):.3f}" if losses else "unknown"
        sentences.append(
            f"Training {end} by the held-out loss (patience {patience}) of the questions that are "
            f"graded here, so its quality is optimistic; that loss ranged over {fall} nats."
        )
    best = record.search.get("best") or {}
    varied = best.keys() & record.recipe.keys()
    if varied and all(record.recipe[name] == best[name] for name in varied):
        metric, trials = record.search["metric"], sum(record.search["trials"].values())
        lead = record.search["lead_over_mean_trial"]
        sentences.append(
            f"Its recipe is the best of {trials} that were tried on the questions that are graded "
            f"here: up to {lead:.3f} of its {NAMES.get(metric, metric)}, the lead over the mean "
            "trial, may be luck."
        )
    return tuple(sentences)


def adapters_used(results: Results) -> list[Training]:
    """Return the records of the adapters that answered; all of a model if no row names one."""
    used = set(distinct(results.rows, "adapter_sha256"))
    records: dict[str, list[TrainingRecord]] = {}
    for record in results.training:
        records.setdefault(record.model, []).append(record)
    trainings: list[Training] = []
    for model in sorted(records, key=model_order):
        chosen = [each for each in records[model] if each.sha256 in used] or records[model]
        trainings += [
            Training(
                model if len(chosen) == 1 else each.folder,
                each.profile,
                each.basis or NOT_RECORDED,
                each.rows,
                selection(each),
            )
            for each in chosen
        ]
    return trainings
