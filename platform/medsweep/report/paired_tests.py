"""Which of two models' answers are better, by the page's tests on the same questions.

Two intervals may overlap where a paired test tells the two apart, because a question that is hard
for one is hard for the other. Sentences go by the paired test wherever there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from medsweep.comparison.answers import SCORE
from medsweep.comparison.finding import Finding
from medsweep.digits import p_relation
from medsweep.metrics.significance import ALPHA
from medsweep.report.numbers import share_places, signed
from medsweep.report.tables.models import difference_of, subject
from medsweep.report.tables.paired import PairedRow
from medsweep.results.aggregate import Row, group_by_columns, headline_rows

Side = tuple[str, str | None]
"""A model and its variant."""


@dataclass(frozen=True)
class PairedTest:
    """Token F1 of one side against another's on the same questions.

    Attributes:
        lead: mean of the first minus mean of the second.
        p_adjusted: corrected p-value of there being no difference; None if it was not tested.
        questions: number of questions that both answered.
        places: decimals that the interval of the lead bears.
    """

    lead: float
    p_adjusted: float | None
    questions: int
    places: int

    @property
    def is_better(self) -> bool:
        """Whether the first side's answers are better beyond chance."""
        return self._differs and self.lead > 0

    @property
    def sentence(self) -> str:
        """The lead, its questions and its p-value."""
        lead = signed(self.lead, self.places)
        told = f"On the same {self.questions} questions the lead is {lead}"
        if self.p_adjusted is None:
            return f"{told}, not tested."
        chance = "beyond chance" if self._differs else "not beyond chance"
        return f"{told}: {chance} ({p_relation(self.p_adjusted)})."

    @property
    def _differs(self) -> bool:
        return self.p_adjusted is not None and self.p_adjusted <= ALPHA


PairedTests = Mapping[tuple[str, Side, Side], PairedTest]
"""The tests by basis and two sides, in either order."""


def paired_tests(
    rows: Sequence[Row], paired: Sequence[PairedRow], models: Sequence[Finding]
) -> PairedTests:
    """Return every paired test of token F1 on the page.

    Args:
        rows: of `benchmark.parquet`.
        paired: of `base_against_tuned`.
        models: of `model_against_model`.
    """
    tests: dict[tuple[str, Side, Side], PairedTest] = {
        (row.basis, (row.model, "adapter"), (row.model, "base")): PairedTest(
            row.difference.mean,
            row.p_adjusted,
            row.difference.pairs,
            share_places(row.difference),
        )
        for row in paired
        if row.figure == SCORE
    }
    found = {each.subject: each for each in models if each.figure == SCORE}
    sides: dict[str, list[Side]] = {}
    for (basis, model), group in group_by_columns(headline_rows(rows), "basis", "model").items():
        variants = {row["variant"] for row in group}
        if len(variants) == 1:  # the test is of one side, not of a mixture
            sides.setdefault(basis, []).append((model, *variants))
    for basis, known in sides.items():
        for first, second in permutations(known, 2):
            each = found.get(subject(first[0], second[0], basis))
            if each is not None:
                lead = difference_of(each)
                tests[basis, first, second] = PairedTest(
                    lead.mean, each.p_adjusted, each.pairs or 0, share_places(lead)
                )
    turned = {
        (basis, second, first): replace(test, lead=-test.lead)
        for (basis, first, second), test in tests.items()
    }
    return tests | turned
