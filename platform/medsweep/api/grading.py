"""Grade answers, and compare result sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from medsweep.api.results import Results
from medsweep.api.table import Table
from medsweep.errors import InputError


def score(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    seed: int = 0,
) -> Table:
    """Grade answers against their references, as `medsweep score` does.

    Args:
        predictions: what was generated.
        references: what each is graded against.
        ids: of the questions; answers with the same id are one question. None takes each answer
            for a question of its own.
        seed: of the bootstrap over questions.

    Returns:
        One row per figure: its mean, 95 % interval and maximum over the answers, from 0 to 1.

    Raises:
        InputError: the lists differ in length, or are empty.
    """
    from medsweep.metrics.tally import AnswerTally

    lengths = {len(predictions), len(references), len(predictions if ids is None else ids)}
    if len(lengths) > 1:
        raise InputError(
            f"{len(predictions)} predictions, {len(references)} references"
            + ("" if ids is None else f" and {len(ids)} ids")
            + ": give as many of each"
        )
    if not predictions:
        raise InputError("no predictions were given: there is nothing to score")
    tally = AnswerTally()
    for place, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        tally.add(prediction, reference, None if ids is None else ids[place])
    return Table(
        [{"figure": name, **asdict(figure)} for name, figure in tally.figures(seed).items()]
    )
