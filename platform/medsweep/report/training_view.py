"""How each fine-tune went, from its record to a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medsweep.report.figures import Training
from medsweep.report.numbers import bounds, share
from medsweep.report.tables.grouping import model_order
from medsweep.report.view import Cell, View, count, headings, number, text, texts
from medsweep.results.aggregate import distinct
from medsweep.results.reader import Results, TrainingRecord


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


def training_view(training: Sequence[Training]) -> View:
    """Return one row an epoch of each fine-tune; epoch 0 is the base model."""
    return View(
        "Every epoch of each fine-tune: losses in nats per answer token, quality of the held-out "
        "questions with its interval over questions; epoch 0 is the base model",
        headings(
            "Model",
            "Epoch",
            "Basis of its cells",
            "Training loss",
            "Held-out loss",
            "Token F1",
            "ROUGE-L",
            "n-gram match",
            "Corpus BLEU",
            "Time (s)",
            "Tokens (1/s)",
        ),
        tuple(row for record in training for row in _rows(record)),
        labels=1,
    )


def _rows(record: Training) -> Iterator[tuple[Cell, ...]]:
    for row in record.rows:
        took, tokens = row.get("seconds"), row.get("tokens")
        yield (
            text(record.model),
            count(row["epoch"]),
            texts(record.bases, "no cell of it was measured"),
            number(row.get("loss"), "nothing was learnt before the first epoch"),
            number(row.get("eval_loss")),
            *(
                Cell(
                    share(row.get(name)),
                    note=bounds(row.get(f"{name}_low"), row.get(f"{name}_high"), 3),
                    kind="number",
                )
                for name in ("token_f1", "rouge_l", "ngram_match", "corpus_bleu")
            ),
            number(took or None),
            number(tokens / took if took and tokens else None),
        )
