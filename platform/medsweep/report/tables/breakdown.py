"""Where answers are good: by groups of questions, the worst answers, and what got worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medsweep.metrics.breakdown import (
    FIGURES,
    LENGTH,
    SHOWN,
    GroupQuality,
    length_label,
    quality_by_group,
    worsened,
    worst,
)
from medsweep.metrics.significance import ALPHA
from medsweep.metrics.tally import STRATA
from medsweep.report.numbers import share, share_places, share_spread
from medsweep.report.table import (
    Column,
    ReportTable,
    TableCell,
    fraction,
    prose,
    tabulate,
    text,
)
from medsweep.report.tables.grouping import model_order
from medsweep.report.tables.quality import NAMES
from medsweep.results.aggregate import (
    Row,
    basis_order,
    group_by_columns,
    headline_rows,
    mean,
    ok_rows,
)

LONGEST = 300
"""Characters of a text that a table shows."""

SEED = 0

Scores = Mapping[str, Sequence[Row]]
Labels = Mapping[str, Mapping[str, str]]


def breakdown_table(rows: Sequence[Row], scores: Scores, labels: Labels) -> ReportTable:
    """Return the quality of each model by groups of questions.

    Args:
        rows: of `benchmark.parquet`.
        scores: mean figures of each question by cell key.
        labels: what each question is grouped by.
    """
    lines = []
    for model, basis, answers in _headline(rows, scores):
        by_question = group_by_columns(answers, "question_id")
        figures = {
            name: np.array([_or_nan(mean(each, name)) for each in by_question.values()])
            for name in FIGURES
        }
        groups = [
            {**labels.get(question, {}), **_length(each)}
            for (question,), each in by_question.items()
        ]
        columns = {
            name: [group.get(name) for group in groups]
            for name in dict.fromkeys(name for group in groups for name in group)
        }
        found = quality_by_group(figures, columns, seed=SEED)
        for (column, group), of_group in _by_group(found).items():
            lines.append((model, basis, column.replace("_", " "), group, of_group))
    shown = (
        Column("Model", lambda line: text(line[0])),
        Column("Basis", lambda line: text(line[1])),
        Column("By", lambda line: text(line[2])),
        Column("Group", lambda line: text(line[3])),
        Column(
            "Questions",
            lambda line: TableCell(
                str(max(each.questions for each in line[4].values())), kind="number"
            ),
        ),
        *(_figure(name) for name in FIGURES),
    )
    return tabulate(
        "Quality by groups of questions, with 95 % intervals. A group is lower or higher if it "
        "differs from all other questions of the model (permutation test, Holm over the model's "
        "groups and figures). Groups of fewer than 6 questions are pooled as other",
        shown,
        lines,
        labels=4,
    )


def worst_table(rows: Sequence[Row], answers: Scores) -> ReportTable:
    """Return the ten worst answers of each model.

    Args:
        rows: of `benchmark.parquet`.
        answers: one row per answer or question, by cell key; texts are shown where there are any.
    """
    lines = []
    for model, basis, graded in _headline(rows, answers):
        ordered = group_by_columns([graded[place] for place in worst(graded)], "question_id")
        lines += [
            {**each[0], "model": model, "basis": basis} for each in list(ordered.values())[:SHOWN]
        ]
    return tabulate(
        "The ten worst answers of each model: those that contradict their reference first, then "
        "by token F1",
        (
            Column("Model", lambda row: TableCell(row["model"], note=row["basis"])),
            Column("Question", lambda row: _text(row, "question", "question_id")),
            Column("Reference", lambda row: _text(row, "reference")),
            Column("Answer", lambda row: _text(row, "answer")),
            Column("Token F1", lambda row: fraction(row["token_f1"])),
            Column("Consistency", lambda row: fraction(row["consistency"])),
        ),
        lines,
    )


def worsened_table(rows: Sequence[Row], answers: Scores) -> ReportTable:
    """Return the questions that fine-tuning made worse, and of how many.

    Args:
        rows: of `benchmark.parquet`.
        answers: as for `worst_table`; of both variants.
    """
    lines = []
    for (model, basis), group in _models(ok_rows(rows)):
        graded = _answers(group, answers)
        sides = {
            variant: {
                question: each
                for (question,), each in group_by_columns(
                    [row for row in graded if row["variant"] == variant], "question_id"
                ).items()
            }
            for variant in ("base", "adapter")
        }
        before, after = (
            {
                question: {name: mean(each, name) for name in FIGURES}
                for question, each in side.items()
            }
            for side in sides.values()
        )
        change = worsened(before, after)
        for question in change.worst:
            first = sides["base"][question][0], sides["adapter"][question][0]
            scored = before[question], after[question]
            lines.append((model, basis, change, first, scored))
    return tabulate(
        "Questions that fine-tuning made worse: those that contradict their reference more, then "
        "those whose token F1 fell; up to ten of each model",
        (
            Column("Model", lambda line: TableCell(line[0], note=line[1])),
            Column(
                "Token F1 fell / rose / questions",
                lambda line: TableCell(
                    f"{line[2].token_f1_lower} / {line[2].token_f1_higher} / {line[2].questions}",
                    note=f"{line[2].contradicting} contradict more",
                    kind="number",
                ),
            ),
            Column("Question", lambda line: _text(line[3][0], "question", "question_id")),
            Column("Base", lambda line: _text(line[3][0], "answer")),
            Column("Fine-tuned", lambda line: _text(line[3][1], "answer")),
            *(_change(name) for name in ("token_f1", "consistency")),
        ),
        lines,
    )


def _change(name: str) -> Column:
    def cell(line: tuple[object, object, object, object, Sequence[Row]]) -> TableCell:
        before, after = (share(each[name]) for each in line[4])
        return TableCell(f"{before} \N{RIGHTWARDS ARROW} {after}", kind="number")

    return Column(NAMES[name], cell)


def _figure(name: str) -> Column:
    def cell(line: tuple[str, str, str, str, Mapping[str, GroupQuality]]) -> TableCell:
        group = line[4].get(name)
        if group is None:
            return fraction(None, "no reference of this group has any")
        notes = [share_spread(group)]
        if group.p_value is not None and group.p_value <= ALPHA and group.rest is not None:
            side = "lower" if group.mean < group.rest else "higher"
            notes.append(f"{side} than the rest ({share(group.rest, share_places(group))})")
        return TableCell(share(group), note="\n".join(filter(None, notes)), kind="number")

    return Column(NAMES[name], cell)


def _by_group(found: Sequence[GroupQuality]) -> dict[tuple[str, str], dict[str, GroupQuality]]:
    groups: dict[tuple[str, str], dict[str, GroupQuality]] = {}
    for each in found:
        groups.setdefault((each.column, each.group), {})[each.figure] = each
    return groups


def _models(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    groups = group_by_columns(rows, "model", "basis")
    order = sorted(groups, key=lambda group: (model_order(group[0]), basis_order(group[1])))
    return [((model, basis), groups[model, basis]) for model, basis in order]


def _answers(rows: Sequence[Row], answers: Scores) -> list[Row]:
    measured = {(row["key"], row["variant"]) for row in rows}
    keys = dict.fromkeys(row["key"] for row in rows)
    return [
        each for key in keys for each in answers.get(key, ()) if (key, each["variant"]) in measured
    ]


def _headline(rows: Sequence[Row], answers: Scores) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield model, basis and answers of the adapter, or of the base model where it has none."""
    for (model, basis), group in _models(headline_rows(rows)):
        if graded := _answers(group, answers):
            yield model, basis, graded


def _length(answers: Sequence[Row]) -> dict[str, str]:
    words = mean(answers, "reference_words")
    return {} if words is None else {LENGTH: length_label(round(words), STRATA)}


def _text(row: Row, name: str, otherwise: str = "") -> TableCell:
    value = row.get(name)
    if value is None:
        return text(row.get(otherwise), "no texts are kept, or the dataset is not public")
    if len(value) > LONGEST:
        value = value[:LONGEST].rsplit(" ", 1)[0] + "\N{HORIZONTAL ELLIPSIS}"
    return prose(value or "(empty)")


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
