"""`medsweep compare`: what changed between two result sets beyond noise; a gate for CI."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.compare_paper import PAPER, compare_paper
from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DIFFERENT, EXIT_DONE

if TYPE_CHECKING:
    from medsweep.comparison.finding import Finding
    from medsweep.comparison.gate import Gate
    from medsweep.comparison.sets import Comparison


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "before", metavar="A", help="results: a folder or its URL in an object store"
    )
    parser.add_argument(
        "after",
        nargs="?",
        metavar="B",
        help="those to hold against A; `paper` for the paper's own tables; without it the profiles "
        "and models of A are held against each other",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="a change for the worse by no more than this is no regression; default: 0.05",
    )
    parser.add_argument(
        "--quality-gate",
        action="store_true",
        help="exit 5 also where answers fall under 99 %% of the reference's ROUGE or token F1, or "
        "are not 0.9 to 1.1 times as long",
    )
    parser.add_argument(
        "--reference", metavar="PROFILE", help="with A alone: profile that the gate judges by"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what changed; exit 5 if something is worse beyond noise."""
    from medsweep.comparison.sets import compare_sets, compare_within
    from medsweep.results.reader import Results

    if options.after == PAPER and not Path(PAPER).exists():
        compare_paper(options.before, as_json=options.json)
        return EXIT_DONE
    before = Results.open(options.before)
    if options.after is None:
        found = compare_within(before, options.reference)
        bad: Sequence[Finding] = []
    else:
        found = compare_sets(before, Results.open(options.after))
        bad = found.regressions(options.tolerance)
    failed = [each for each in found.gates if not each.passes] if options.quality_gate else []
    worse = bool(bad or failed or found.lost)
    if options.json:
        print(json.dumps(as_json(found, bad, worse=worse), indent=2))
    else:
        print_comparison(found)
        print(f"\n{_summary(found, bad, options.tolerance)}")
    return EXIT_DIFFERENT if worse else EXIT_DONE


def print_comparison(found: Comparison) -> None:
    """Print what differs beyond noise, and what may explain it."""
    from medsweep.comparison.finding import worst_first

    clear = [each for each in found.findings if each.is_clear]
    if clear:
        show([_row(each) for each in worst_first(clear)], as_json=False)
    for trend in found.trends:
        if trend.is_clear and trend.drift is not None:
            print(
                f"drift: {trend.name}: end-to-end time moved by {trend.drift.change:+.1%} over its "
                f"{trend.drift.visits} visits (p = {trend.drift.p_value:.2g})"
            )
    for puzzle in found.puzzles:
        print(
            f"not faster: {puzzle.model} {puzzle.load_point}: {puzzle.more} beside {puzzle.less}: "
            f"{puzzle.gain:+.1%} tokens/s; {puzzle.why}"
        )
    for each in found.gates:
        if not each.passes:
            print(f"gate: {each.subject} beside {each.reference}: {'; '.join(each.faults)}")
    for cell, why in found.lost.items():
        print(f"lost: {cell}: measured before, now {why}")
    for title, points in (("A", found.only_before), ("B", found.only_after)):
        if points:
            print(f"only in {title}: {', '.join(points)}")
    for column, (was, is_) in found.circumstances.items():
        print(f"also different: {column}: {_listed(was)} -> {_listed(is_)}")


def _summary(found: Comparison, bad: Sequence[Finding], tolerance: float) -> str:
    tested = [each for each in found.findings if each.p_adjusted is not None]
    clear = [each for each in tested if each.is_clear]
    changed = [each for each in found.findings if each.test == "paired bootstrap"]
    answers = f"{sum(each.changed or 0 for each in changed)} of "
    answers += f"{sum(each.pairs or 0 for each in changed)} paired answers changed; "
    passed = sum(each.passes for each in found.gates)
    gates = f"{passed} of {len(found.gates)} pass the quality gate; " if found.gates else ""
    return (
        f"{len(clear)} of {len(tested)} figures differ beyond noise (Holm, 5 %), "
        f"{len(found.findings) - len(tested)} could not be tested; "
        f"{answers if changed else ''}{gates}{len(bad)} regressions of more than {tolerance:.0%}"
    )


def as_json(found: Comparison, bad: Sequence[Finding], *, worse: bool) -> dict[str, Any]:
    """Return a comparison as plain JSON values.

    Args:
        found: the comparison.
        bad: the findings that count against it.
        worse: what the exit code says.
    """
    return {
        "worse": worse,
        "regressions": [_finding(each) for each in bad],
        "findings": [_finding(each) for each in found.findings],
        "gates": [_gate(each) for each in found.gates],
        "lost": found.lost,
        "only_in_a": found.only_before,
        "only_in_b": found.only_after,
        "circumstances": found.circumstances,
        "not_faster": [asdict(puzzle) for puzzle in found.puzzles],
        "drift": [
            {"set": each.name, **(asdict(each.drift) if each.drift else {})}
            for each in found.trends
        ],
    }


def _finding(each: Finding) -> dict[str, Any]:
    return {**asdict(each), "change": each.change, "verdict": each.verdict}


def _gate(each: Gate) -> dict[str, Any]:
    return {**asdict(each), "passes": each.passes, "faults": each.faults}


def _row(each: Finding) -> dict[str, Any]:
    return {
        "verdict": each.verdict,
        "what": each.subject,
        "figure": each.figure,
        "A": f"{each.before:.4g}",
        "B": f"{each.after:.4g}",
        "change": None if each.change is None else f"{each.change:+.1%}",
        "p (Holm)": f"{each.p_adjusted:.2g}",
        "by": each.test,
        "changed": None if each.pairs is None else f"{each.changed} of {each.pairs}",
    }


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) or "not known"
