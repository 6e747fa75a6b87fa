"""Grade answers, and compare result sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.api.results import Results
from medsweep.api.table import Table
from medsweep.errors import InputError

if TYPE_CHECKING:
    from medsweep.comparison.finding import Finding
    from medsweep.metrics.meter import Grade


def score(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    lexicon: str | Path | None = None,
    entailment: str | Path | None = None,
    seed: int = 0,
) -> Table:
    """Grade answers against their references, as `medsweep score` does.

    Args:
        predictions: what was generated.
        references: what each is graded against.
        ids: of the questions; answers with the same id are one question. None takes each answer
            for a question of its own.
        lexicon: terms of the concepts that answers are compared by: a CSV file with the columns
            `concept` and `term`, or UMLS' MRCONSO.RRF. None takes the names of ICD-10-CM.
        entailment: model for natural language inference that judges what answers and references
            entail and contradict: a folder, or a repository on the hub with or without `@revision`.
            None judges none: there are no figures of claims then.
        seed: of the bootstrap over questions.

    Returns:
        One row per figure: its mean, 95 % interval and maximum over the answers, from 0 to 1.

    Raises:
        InputError: the lists differ in length, or are empty; the lexicon or the model cannot be
            used.
        EnvironmentFault: the model cannot be fetched from the hub.
    """
    from medsweep.metrics.tally import AnswerTally
    from medsweep.models.entailment import load_grader

    lengths = {len(predictions), len(references), len(predictions if ids is None else ids)}
    if len(lengths) > 1:
        raise InputError(
            f"{len(predictions)} predictions, {len(references)} references"
            + ("" if ids is None else f" and {len(ids)} ids")
            + ": give as many of each"
        )
    if not predictions:
        raise InputError("no predictions were given: there is nothing to score")
    tally = AnswerTally(grader=load_grader(lexicon, entailment))
    for place, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        tally.add(prediction, reference, None if ids is None else ids[place])
    return Table(
        [{"figure": name, **asdict(figure)} for name, figure in tally.figures(seed).items()]
    )


def meter(
    references: Sequence[str],
    questions: Sequence[str] | None = None,
    *,
    lexicon: str | Path | None = None,
    entailment: str | Path | None = None,
    grade: Grade | None = None,
    seed: int = 0,
) -> Table:
    """Return which deliberate errors in references each figure of quality sees.

    Args:
        references: right answers; the first 200 are made wrong in several ways.
        questions: one per reference; without them no disease or drug is replaced by another.
        lexicon: terms of the concepts, as in `score`.
        entailment: model that judges the claims, as in `score`.
        grade: your own figures, in place of those of `score`: takes an answer and its reference,
            and returns figures by name, where more is better.
        seed: of the places that are changed.

    Returns:
        One row per figure and kind of error: how many were tried and seen, the share with its
        95 % interval. The kind `harmless rewrite` has the share of false alarms.

    Raises:
        InputError: the lists differ in length, or are empty; `grade` is given with a lexicon or a
            model, which it does not use; the lexicon or the model cannot be used.
        EnvironmentFault: the model cannot be fetched from the hub.
    """
    from medsweep.metrics.meter import measure_detection
    from medsweep.models.entailment import load_grader

    if grade is not None and (lexicon, entailment) != (None, None):
        raise InputError(
            "`grade` replaces the figures that use `lexicon` and `entailment`: give it alone"
        )
    if not references:
        raise InputError("no references were given: there is nothing to make wrong")
    if questions is not None and len(questions) != len(references):
        raise InputError(
            f"{len(references)} references and {len(questions)} questions: give as many of each"
        )
    grader = load_grader(lexicon, entailment)
    detections = measure_detection(references, questions, seed=seed, grader=grader, grade=grade)
    return Table([asdict(each) for each in detections])


class Comparison(Table):
    """What differs between two result sets, one row per figure of a load point or of answers.

    Attributes:
        lost: cells that were measured before and are not now, with the reason.
        regressions: rows that are worse, beyond noise and by more than the tolerance.
    """

    def __init__(
        self, findings: Sequence[Finding], regressions: Sequence[Finding], lost: Mapping[str, str]
    ) -> None:
        super().__init__([_row(finding) for finding in findings])
        self.regressions = Table([_row(finding) for finding in regressions])
        self.lost = lost


def compare(
    before: str | Path | Results, after: str | Path | Results, *, tolerance: float = 0.05
) -> Comparison:
    """Compare two result sets, as `medsweep compare` does.

    Args:
        before: results, or where they are.
        after: the results to compare with `before`, or where they are.
        tolerance: a change for the worse by no more than this share is no regression.

    Raises:
        InputError: there are no results, or they have no load point in common.
    """
    from medsweep.comparison.sets import compare_sets

    first, second = (
        each if isinstance(each, Results) else Results(each) for each in (before, after)
    )
    comparison = compare_sets(first.files, second.files)
    return Comparison(comparison.findings, comparison.regressions(tolerance), comparison.lost)


def _row(finding: Finding) -> dict[str, Any]:
    return {"verdict": finding.verdict, **asdict(finding), "change": finding.change}
