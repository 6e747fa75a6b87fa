"""Comparison of two sets of results, or of the profiles and models of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from medsweep.comparison.answers import TESTS, Contrast, compare_answers
from medsweep.comparison.finding import Finding, basis_of, corrected, resamples_for
from medsweep.comparison.quality_gate import MARGIN, QualityGate, judge
from medsweep.comparison.scaling import ScalingAnomaly, scaling_anomalies
from medsweep.comparison.speed import compare_speed
from medsweep.comparison.spread import Spread, spreads
from medsweep.comparison.trend import Trend, trend
from medsweep.errors import InputError
from medsweep.loadgen.spec import load_in_words
from medsweep.names import first_names
from medsweep.results.aggregate import Row, distinct, group_by_columns
from medsweep.results.reader import Results

# What may explain a difference that was not intended.
CIRCUMSTANCES = (
    "basis",
    "hostname",
    "cpu_model",
    "device",
    "driver",
    "governor",
    "cpus_given",
    "threads",
    "dtype_given",
    "engine",
    "max_tokens",
    "instruction",
    "dataset_sha256",
    "adapter_sha256",
    "revision",
    "versions",
    "git_commit",
    "image_digest",
)


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        findings: corrected for their number, each basis by itself.
        gates: the quality gate of each cell.
        lost: cells that were measured before and are not now, with the reason.
        only_before: load points that only the first set has.
        only_after: load points that only the second has.
        circumstances: values that differ, by column: of the first set, of the second set.
        trends: drift over time, one per set.
        spreads: how speed varies between deployments, repeats and requests, by name of the set.
        anomalies: within one set: better hardware that was not faster, and why.
    """

    findings: list[Finding]
    gates: list[QualityGate]
    lost: dict[str, str] = field(default_factory=dict)
    only_before: list[str] = field(default_factory=list)
    only_after: list[str] = field(default_factory=list)
    circumstances: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    trends: list[Trend] = field(default_factory=list)
    spreads: dict[str, list[Spread]] = field(default_factory=dict)
    anomalies: list[ScalingAnomaly] = field(default_factory=list)

    def regressions(self, tolerance: float) -> list[Finding]:
        """Return the findings that are worse beyond noise and by more than a share."""
        return [each for each in self.findings if each.is_regression(tolerance)]


def compare_sets(before: Results, after: Results, margin: float = MARGIN) -> Comparison:
    """Compare the same models on the same profiles at the same load points.

    Args:
        before: results of the first set.
        after: results of the second set.
        margin: share by which answers may be worse and pass the quality gate.

    Raises:
        InputError: they have no load point of any cell in common.
    """
    points, points_after = before.by_load_point(), after.by_load_point()
    shared = [point for point in points if point in points_after]
    lost = {
        f"{model}@{profile}": why
        for (model, profile), why in after.not_measured().items()
        if any(point[:2] == (model, profile) for point in points)
    }
    if not shared and not lost:
        raise InputError(
            f"{before.name} and {after.name} have no load point of any model on any profile in "
            f"common: the first has {_point_names(points)}, the second {_point_names(points_after)}"
        )
    graded, graded_after = before.graded(), after.graded()
    cells = [cell for cell in graded if cell in graded_after]
    draws = resamples_for(len(shared) * 5 + len(cells) * TESTS)
    findings = [
        finding
        for point in shared
        for finding in compare_speed(point_name(point), points[point], points_after[point])
    ]
    bases, bases_after = _by_cell(before), _by_cell(after)
    contrasts = [
        Contrast(
            cell_name(cell),
            graded[cell],
            graded_after[cell],
            basis_of(bases.get(cell, ()), bases_after.get(cell, ())),
        )
        for cell in cells
    ]
    findings += compare_answers(contrasts, resamples=draws)
    gates = [
        judge(cell_name(cell), graded_after[cell], before.name, graded[cell], margin)
        for cell in cells
    ]
    return Comparison(
        corrected(findings),
        [each for each in gates if each is not None],
        lost,
        [point_name(point) for point in points if point not in points_after],
        [point_name(point) for point in points_after if point not in points],
        _circumstances(before.rows, after.rows),
        [trend(each) for each in (before, after)],
        # Two sets may have one name: the halves of an A/A run, or a folder that was measured anew.
        {f"{side} {each.name}": spreads(each) for side, each in (("A", before), ("B", after))},
    )


def compare_within(
    results: Results, reference: str | None = None, margin: float = MARGIN
) -> Comparison:
    """Compare the answers of one set: profiles by model, and models by profile.

    Speed is left out unless better hardware was not faster: profiles are expected to differ in it,
    and the report shows how.

    Args:
        results: the set.
        reference: profile that the quality gate compares with; None takes each model's first.
        margin: share by which answers may be worse and pass the gate.

    Raises:
        InputError: no cell has graded answers, or none is on that profile.
    """
    graded = results.graded()
    if not graded:
        raise InputError(
            f"{results.name}: no graded answers (cells/*/responses.parquet) beside it; give the "
            "folder of a sweep"
        )
    if reference is not None and all(profile != reference for _, profile, _ in graded):
        known = ", ".join(dict.fromkeys(profile for _, profile, _ in graded))
        raise InputError(f"{results.name}: no answers of profile {reference!r}; it has {known}")
    bases = _by_cell(results)
    contrasts = [
        Contrast(
            f"{cell_name(second)} against {cell_name(first)}",
            graded[first],
            graded[second],
            basis_of(bases.get(first, ()), bases.get(second, ())),
        )
        for first, second in combinations(graded, 2)
        if first[2] == second[2] and (first[0] == second[0] or first[1] == second[1])
    ]
    findings = compare_answers(contrasts, resamples=resamples_for(len(contrasts) * TESTS))
    return Comparison(
        corrected(findings),
        _gates(graded, reference, margin),
        trends=[trend(results)],
        anomalies=scaling_anomalies(results.rows),
    )


def point_name(point: tuple[str, str, str, str]) -> str:
    """Return the name of a load point."""
    model, profile, variant, load = point
    return f"{model}@{profile} {variant} at {load_in_words(load)}"


def cell_name(cell: tuple[str, str, str]) -> str:
    """Return the name of a cell's variant."""
    model, profile, variant = cell
    return f"{model}@{profile} {variant}"


def _by_cell(results: Results) -> dict[tuple[str, str, str], list[Row]]:
    return group_by_columns(results.rows, "model", "profile", "variant")


def _gates(
    graded: dict[tuple[str, str, str], list[Row]], reference: str | None, margin: float
) -> list[QualityGate]:
    gates = []
    by_model: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for (model, profile, variant), answers in graded.items():
        by_model.setdefault((model, variant), {})[profile] = answers
    for (model, variant), profiles in by_model.items():
        chosen = reference or next(iter(profiles))
        for profile, answers in profiles.items():
            if chosen in profiles and profile != chosen:
                name = cell_name((model, profile, variant))
                gates.append(judge(name, answers, chosen, profiles[chosen], margin))
    return [each for each in gates if each is not None]


def _circumstances(
    before: Sequence[Row], after: Sequence[Row]
) -> dict[str, tuple[list[str], list[str]]]:
    values = {
        column: (
            sorted(map(str, distinct(before, column))),
            sorted(map(str, distinct(after, column))),
        )
        for column in CIRCUMSTANCES
    }
    return {column: sides for column, sides in values.items() if sides[0] != sides[1]}


def _point_names(points: dict[tuple[str, str, str, str], list[Row]]) -> str:
    return first_names([point_name(point) for point in points]) or "none"
