"""`medsweep recommend`: which configuration to take, given limits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, fraction, positive, seconds, show
from medsweep.decide.limits import limit_options, make_limits
from medsweep.errors import EXIT_DONE

if TYPE_CHECKING:
    from medsweep.decide.recommend import Verdict

SHOWN = ("max-p95-ttft", "max-mean-e2e", "min-token-f1", "min-rouge-l", "max-usd-per-1k")
LIMITS = """Any latency (ttft, tpot, itl, e2e, dispatch-delay) and statistic (mean, p50, p90, p95,
p99) can be limited as --max-STATISTIC-LATENCY, any quality figure as --min-FIGURE."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "folder", metavar="DIR", help="results: a folder or its URL in an object store"
    )
    limits = parser.add_argument_group("limits", LIMITS)
    for option, column in limit_options().items():
        is_time = column.endswith("_s")
        limits.add_argument(
            f"--{option}",
            type=seconds if is_time else positive if option.startswith("max-") else fraction,
            metavar="TIME" if is_time else "VALUE",
            help=f"bound of {column}" if option in SHOWN else argparse.SUPPRESS,
        )
    parser.add_argument(
        "--rate", type=positive, metavar="R", help="requests a second that must be answered"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the ranking of each basis, what to take, and what to measure next."""
    from medsweep.decide.candidates import candidates
    from medsweep.decide.recommend import recommend
    from medsweep.results.reader import Results

    given = {
        option: bound
        for option in limit_options()
        if (bound := getattr(options, option.replace("-", "_"))) is not None
    }
    found = candidates(Results.open(options.folder).rows)
    by_basis = {
        basis: recommend(
            [each for each in found if each.basis == basis], make_limits(given), options.rate
        )
        for basis in ("observed", "emulated", "predicted")
        if any(each.basis == basis for each in found)
    }
    if options.json:
        print(json.dumps({basis: _plain(ranked) for basis, ranked in by_basis.items()}, indent=2))
        return EXIT_DONE
    if not by_basis:
        print("nothing was measured, so nothing can be recommended")
    for basis, ranked in by_basis.items():
        _print(basis, ranked)
    return EXIT_DONE


def _plain(ranked: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [
        {
            "model": verdict.candidate.model,
            "variant": verdict.candidate.variant,
            "profile": verdict.candidate.profile,
            "load_point": verdict.candidate.load_point,
            "probability": verdict.probability,
            "met": verdict.is_met,
            "missed": verdict.is_missed,
            "replicas": verdict.replicas,
            "usd_per_hour": verdict.usd_per_hour,
            "checks": [
                {
                    "column": check.limit.column,
                    "bound": check.limit.bound,
                    "value": check.value,
                    "probability": check.probability,
                }
                for check in verdict.checks
            ],
            "doubts": verdict.doubts,
        }
        for verdict in ranked
    ]


def _print(basis: str, ranked: Sequence[Verdict]) -> None:
    from medsweep.decide.candidates import best_trade_offs, counts_price

    note = {
        "observed": "",
        "emulated": ": figures of the machine that stood in, not of the hardware that is named",
        "predicted": ": computed from datasheets, not measured",
    }[basis]
    print(f"{basis}{note}")
    show([_row(verdict) for verdict in ranked], as_json=False)
    for sentence in _sentences(basis, ranked):
        print(sentence)
    found = [verdict.candidate for verdict in ranked]
    front = best_trade_offs(found)
    if front:
        of = "token F1, latency and price" if counts_price(found) else "token F1 and latency"
        print(f"best trade-offs of {of}: {', '.join(each.name for each in front)}")
    print()


def _row(verdict: Verdict) -> dict[str, Any]:
    chance = verdict.probability
    price = verdict.usd_per_hour
    return {
        "configuration": verdict.candidate.name,
        "load point": verdict.candidate.load_point,
        "limits met": "unknown" if chance is None else f"{chance:.0%}",
        **{
            check.limit.column: None if check.value is None else f"{check.value:.3g}"
            for check in verdict.checks
        },
        "replicas": verdict.replicas,
        "USD/h": None if price is None else f"{price:.2f}",
    }


def _sentences(basis: str, ranked: Sequence[Verdict]) -> list[str]:
    """Say what to take, what the next choices would give up, and what to measure next."""
    from medsweep.decide.recommend import better, cheaper

    first = ranked[0]
    said = []
    if first.is_met:
        word = "take" if basis == "observed" else "first"
        said.append(f"{word}: {first.candidate.name} at {first.candidate.load_point}")
        less, more = cheaper(ranked, first), better(ranked, first)
        if less is not None:
            said.append(f"cheaper: {less.candidate.name}: {_instead(less, first)}")
        if more is not None:
            said.append(f"better: {more.candidate.name}: {_instead(more, first)}")
    else:
        said.append("no configuration meets all limits beyond doubt")
    thin = [verdict for verdict in ranked if not verdict.is_missed and verdict.doubts]
    said += [
        f"thin evidence, measure next: {verdict.candidate.name}: {'; '.join(verdict.doubts)}"
        for verdict in thin[:3]
    ]
    if len(thin) > 3:
        said.append(f"and {len(thin) - 3} more with thin evidence (--json lists all)")
    return said


def _instead(other: Verdict, chosen: Verdict) -> str:
    """Say what taking another would change, and which limits it would miss or leave open."""
    from medsweep.decide.recommend import SURE

    words = {
        "token_f1": "token F1 {:+.3f}",
        "e2e_mean_s": "end-to-end time {:+.3g} s",
    }
    said = []
    for column, word in words.items():
        theirs, ours = other.candidate.mean(column), chosen.candidate.mean(column)
        if theirs is not None and ours is not None:
            said.append(word.format(theirs - ours))
    if other.usd_per_hour is not None and chosen.usd_per_hour is not None:
        said.append(f"USD/h {other.usd_per_hour - chosen.usd_per_hour:+.2f}")
    for check in other.checks:
        chance = check.probability
        value = "unknown" if check.value is None else f"{check.value:.3g}"
        if chance is None:
            said.append(f"{check.limit} cannot be told ({value})")
        elif chance < SURE:
            said.append(f"{check.limit} with a chance of {chance:.0%} only ({value})")
    if other.is_met:
        said.append("meets the limits too")
    return ", ".join(said)
