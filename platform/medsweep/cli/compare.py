"""`medsweep compare`: what changed between two sets of results beyond noise; a gate for CI."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from medsweep.cli.compare_paper import PAPER, compare_paper
from medsweep.cli.options import add_json, fraction, positive, show
from medsweep.digits import p_relation, percent, probability
from medsweep.errors import EXIT_DIFFERENT, EXIT_DONE, InputError
from medsweep.reporter import harmless

if TYPE_CHECKING:
    from medsweep.comparison.finding import Finding
    from medsweep.comparison.quality_gate import QualityGate
    from medsweep.comparison.sets import Comparison
    from medsweep.comparison.spread import Spread


TOLERANCE = 0.05
"""Share by which a figure may get worse without counting as a regression, by default."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "before", metavar="A", help="results: a folder or its URL in an object store"
    )
    parser.add_argument(
        "after",
        nargs="?",
        metavar="B",
        help="results to compare with A; `paper` for the paper's own tables; without it the "
        "profiles and models of A are compared",
    )
    parser.add_argument(
        "--tolerance",
        type=fraction,
        metavar="SHARE",
        help="with B: ignore changes for the worse up to this share; default: 0.05",
    )
    parser.add_argument(
        "--quality-gate",
        action="store_true",
        help="print, and exit 5 also, where answers are not shown to be as good as the reference's "
        "in ROUGE and token F1, or are not 0.9 to 1.1 times as long",
    )
    parser.add_argument(
        "--margin",
        type=positive,
        metavar="SHARE",
        help="with --quality-gate or --json: as good means worse by less than this share, with "
        "95 %% confidence; default: 0.05",
    )
    parser.add_argument(
        "--reference",
        metavar="PROFILE",
        help="with A alone, and --quality-gate or --json: profile that the quality gate "
        "compares with",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what changed; exit 5 if something is worse beyond noise.

    Raises:
        InputError: there are no results, or an option is given that this comparison does not use.
    """
    from medsweep.comparison.quality_gate import MARGIN
    from medsweep.comparison.sets import compare_sets, compare_within
    from medsweep.results.reader import Results

    paper = options.after == PAPER and not Path(PAPER).exists()
    _check(options, paper=paper)
    if paper:
        compare_paper(options.before, as_json=options.json)
        return EXIT_DONE
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    margin = MARGIN if options.margin is None else options.margin
    before = Results.open(options.before)
    if options.after is None:
        comparison = compare_within(before, options.reference, margin)
        regressions: Sequence[Finding] = []
    else:
        comparison = compare_sets(before, Results.open(options.after), margin)
        regressions = comparison.regressions(tolerance)
    failed = [each for each in comparison.gates if not each.passes] if options.quality_gate else []
    worse = bool(regressions or failed or comparison.lost)
    if options.json:
        print(json.dumps(as_json(comparison, regressions, worse=worse), indent=2))
    else:
        print_comparison(comparison, gate=options.quality_gate)
        for each in regressions:
            if each.is_of_deployments:
                print(
                    f"not separated: {each.subject} {each.figure} got worse by "
                    f"{_change(each)}, but a side was deployed once: the spread between "
                    "deployments is unknown, so the deployment may be the cause. It counts "
                    "as a regression"
                )
        print(f"\n{_summary(comparison, regressions, options, tolerance)}")
    return EXIT_DIFFERENT if worse else EXIT_DONE


def _check(options: argparse.Namespace, *, paper: bool) -> None:
    """Raise if an option is given that this comparison does not use."""
    gate = options.quality_gate or options.json
    unused = {
        "--reference": (
            paper or options.after is not None or not gate,
            "with A alone, and --quality-gate or --json; with B, the reference is A",
        ),
        "--margin": (paper or not gate, "with --quality-gate or --json"),
        "--tolerance": (paper or options.after is None, "with results as B"),
        "--quality-gate": (paper, "with A alone or with results as B"),
    }
    for option, (is_unused, where) in unused.items():
        value = getattr(options, option.removeprefix("--").replace("-", "_"))
        if is_unused and value is not None and value is not False:
            raise InputError(
                f"{option}: not used in `medsweep compare {options.before}"
                f"{f' {options.after}' if options.after else ''}`; it is used {where}. Omit it"
            )


def print_comparison(comparison: Comparison, *, gate: bool = False) -> None:
    """Print what differs beyond noise, and what may explain it.

    Args:
        comparison: the comparison.
        gate: whether the quality gate was asked for, so that what fails it is printed.
    """
    from medsweep.comparison.finding import worst_first
    from medsweep.loadgen.spec import load_in_words

    clear = [each for each in comparison.findings if each.is_clear]
    if clear:
        show([_row(each) for each in worst_first(clear)], as_json=False)
    for line in _visible(comparison.findings) + _spread(comparison.spreads):
        print(line)
    if once := sum(each.is_of_deployments for each in comparison.findings if each.low is not None):
        print(
            f"not claimed: in {once} figures of speed a side was deployed once, so a difference "
            "may be one of these deployments alone; measure with load.deployments: 3 or more"
        )
    for trend in comparison.trends:
        if trend.is_clear and trend.drift is not None:
            print(
                f"drift: {trend.name}: end-to-end time moved by "
                f"{percent(trend.drift.change, 1, signed=True)} over its "
                f"{trend.drift.measurements} measurements ({p_relation(trend.drift.p_value)})"
            )
        if trend.batches is not None and trend.batches.is_clear:
            print(f"{trend.name}: {trend.batches.sentence}")
    for anomaly in comparison.anomalies:
        print(
            f"not faster: {anomaly.model} at {load_in_words(anomaly.load_point)}: "
            f"{anomaly.more} against {anomaly.less}: "
            f"{percent(anomaly.gain, 1, signed=True)} tokens/s; {anomaly.why}"
        )
    for each in comparison.gates if gate else ():
        if not each.passes:
            print(f"gate: {each.subject} beside {each.reference}: {'; '.join(each.faults)}")
    for cell, why in comparison.lost.items():
        print(f"lost: {cell}: measured before, now {harmless(why)}")
    for title, points in (("A", comparison.only_before), ("B", comparison.only_after)):
        if points:
            print(f"only in {title}: {', '.join(points)}")
    for column, (first, second) in comparison.circumstances.items():
        print(f"also different: {column}: {_listed(first)} -> {_listed(second)}")


def _change(finding: Finding) -> str:
    from medsweep.report.numbers import by_column

    if finding.change is None:
        return by_column(finding.figure, finding.after)
    return percent(abs(finding.change), 1)


def _summary(
    comparison: Comparison,
    regressions: Sequence[Finding],
    options: argparse.Namespace,
    tolerance: float,
) -> str:
    tested = [each for each in comparison.findings if each.p_adjusted is not None]
    clear = [each for each in tested if each.is_clear]
    from medsweep.comparison.answers import BY_SIGN

    changed = [each for each in comparison.findings if each.test == BY_SIGN]
    parts = [
        f"{len(clear)} of {len(tested)} figures differ beyond noise (Holm, 5 %), "
        f"{len(comparison.findings) - len(tested)} could not be tested"
    ]
    if changed:
        pairs = sum(each.pairs or 0 for each in changed)
        parts.append(
            f"{sum(each.changed or 0 for each in changed)} of {pairs} paired answers changed"
        )
    if comparison.gates and options.quality_gate:
        passed = sum(each.passes for each in comparison.gates)
        parts.append(f"{passed} of {len(comparison.gates)} pass the quality gate")
    if options.after is not None:
        parts.append(f"{len(regressions)} regressions of more than {percent(tolerance)}")
    return "; ".join(parts)


def as_json(
    comparison: Comparison, regressions: Sequence[Finding], *, worse: bool
) -> dict[str, Any]:
    """Return a comparison as plain JSON values.

    Args:
        comparison: the comparison.
        regressions: the findings that are regressions.
        worse: whether the exit code says so.
    """
    return {
        "worse": worse,
        "regressions": [_finding(each) for each in regressions],
        "findings": [_finding(each) for each in comparison.findings],
        "gates": [_gate(each) for each in comparison.gates],
        "lost": comparison.lost,
        "only_in_a": comparison.only_before,
        "only_in_b": comparison.only_after,
        "circumstances": comparison.circumstances,
        "not_faster": [asdict(each) for each in comparison.anomalies],
        "spreads": {
            name: [asdict(each) for each in spreads] for name, spreads in comparison.spreads.items()
        },
        "drift": [
            {
                "set": each.name,
                **(asdict(each.drift) if each.drift else {}),
                "batches": asdict(each.batches) if each.batches else None,
            }
            for each in comparison.trends
        ],
    }


def _finding(each: Finding) -> dict[str, Any]:
    return {
        **asdict(each),
        "change": each.change,
        "could_see_share": each.could_see_share,
        "verdict": each.verdict,
    }


def _gate(each: QualityGate) -> dict[str, Any]:
    return {**asdict(each), "passes": each.passes, "faults": each.faults}


def _row(each: Finding) -> dict[str, Any]:
    from medsweep.report.numbers import by_column

    return {
        "verdict": each.verdict,
        "what": each.subject,
        "figure": each.figure,
        "A": by_column(each.figure, each.before),
        "B": by_column(each.figure, each.after),
        "change": None if each.change is None else percent(each.change, 1, signed=True),
        "could see": None if each.could_see_share is None else percent(each.could_see_share, 1),
        "p (Holm)": None if each.p_adjusted is None else probability(each.p_adjusted),
        "by": each.test,
        "changed": None if each.pairs is None else f"{each.changed} of {each.pairs}",
    }


def _visible(findings: Sequence[Finding]) -> list[str]:
    """Return the range of the smallest visible differences of each figure, as one line."""
    shares: dict[str, list[float]] = {}
    for each in findings:
        if each.could_see_share is not None:
            shares.setdefault(each.figure, []).append(each.could_see_share)
    ranges = []
    for figure, values in shares.items():
        low, high = percent(min(values), 1), percent(max(values), 1)
        ranges.append(f"{figure} {low}" if low == high else f"{figure} {low} to {high}")
    if not ranges:
        return []
    return [f"smallest difference that would be found in 80 % of cases: {', '.join(ranges)}"]


def _spread(spreads: Mapping[str, Sequence[Spread]]) -> list[str]:
    """Return the median spread over load points, a line per set and figure."""
    lines = []
    for name, every in spreads.items():
        for figure in dict.fromkeys(each.figure for each in every):
            parts = []
            for level in ("deployment", "repeat", "request"):
                shares = [
                    share
                    for each in every
                    if each.figure == figure
                    and (share := getattr(each.components, level)) is not None
                ]
                shown = percent(median(shares), 2) if shares else "not known"
                parts.append(f"{level}s {shown}")
            lines.append(f"standard deviation: {name}: {figure}: between {', '.join(parts)}")
    return lines


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) or "not known"
