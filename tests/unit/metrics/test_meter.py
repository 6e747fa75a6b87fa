from collections.abc import Callable

from medsweep.metrics.meter import ANY_ERROR, REWRITE, Detection, measure_detection
from medsweep.metrics.perturb import ERRORS

# 40 references with a dose, a negation, a synonym and capitals.
REFERENCES = [
    f"Fever number {place} is not treated with {place + 2} mg of Aspirin. Rest is good."
    for place in range(40)
]

FIGURES: dict[str, Callable[[str, str], float | None]] = {
    "blind": lambda *_: 1.0,
    "alarmist": lambda answer, reference: float(answer == reference),
    "digits": lambda answer, reference: float(
        [c for c in answer if c.isdigit()] == [c for c in reference if c.isdigit()]
    ),
    "unknown": lambda *_: None,
}


def by_kind(detections: list[Detection], figure: str) -> dict[str, Detection]:
    return {each.kind: each for each in detections if each.figure == figure}


def test_figures_whose_sight_is_known() -> None:
    detections = measure_detection(
        REFERENCES,
        seed=1,
        grade=lambda *pair: {name: figure(*pair) for name, figure in FIGURES.items()},
    )
    blind, digits, alarmist, unknown = (
        by_kind(detections, name) for name in ("blind", "digits", "alarmist", "unknown")
    )
    assert (blind[ANY_ERROR].seen, blind[ANY_ERROR].share) == (0, 0.0)
    assert (digits["dose x 10"].seen, digits["dose x 10"].tried) == (40, 40)
    assert digits["negation dropped"].share == 0.0
    assert digits["negation dropped"].high is not None
    assert 0 < digits["negation dropped"].high < 0.1, "the exact interval of 0 in 40"
    # It takes every rewrite for an error, so no limit lets it see one without false alarms.
    assert alarmist[ANY_ERROR].seen == alarmist[REWRITE].seen == 0
    assert unknown[ANY_ERROR].seen == 0
    assert set(digits) == {*ERRORS, ANY_ERROR, REWRITE}


def test_our_figures_see_what_they_were_made_for() -> None:
    detections = measure_detection(REFERENCES, seed=1)
    quantities, consistency, overlap = (
        by_kind(detections, name) for name in ("quantity_agreement", "consistency", "token_f1")
    )
    assert quantities["dose x 10"].share == 1.0
    assert quantities["negation dropped"].share == 0.0
    assert consistency["negation dropped"].share == 1.0
    assert overlap["dose x 10"].share == overlap["negation added"].share == 0.0
    for figure in (quantities, consistency, overlap):
        assert (figure[REWRITE].share or 0.0) <= 0.05


def test_too_few_rewrites_set_no_limit() -> None:
    detections = measure_detection(REFERENCES[:3], seed=1)
    assert {each.share for each in detections} == {None}
    assert measure_detection([], seed=1) == []
