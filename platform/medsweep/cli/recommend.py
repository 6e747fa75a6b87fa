"""`medsweep recommend`: which configuration to take, given limits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, fraction, positive, seconds, show
from medsweep.decide.limits import limit_options, make_limits
from medsweep.digits import percent
from medsweep.errors import EXIT_DONE

if TYPE_CHECKING:
    from medsweep.decide.assessment import Assessment
    from medsweep.decide.candidates import TradeOffs

SHOWN = ("max-p95-ttft", "max-mean-e2e", "min-token-f1", "min-rouge-l", "max-usd-per-1k")
LIMITS = """Any latency (ttft, tpot, itl, e2e, dispatch-delay) and statistic (mean, p50, p90, p95,
p99) can be limited with --max-STATISTIC-LATENCY, any quality figure with --min-FIGURE."""


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
        "--rate",
        type=positive,
        metavar="R",
        help="requests per second that arrive at random times; gives the number of replicas",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the ranking of each basis, what to take, and what to measure next."""
    from medsweep.decide.candidates import best_trade_offs
    from medsweep.decide.recommend import recommend_by_basis
    from medsweep.results.reader import Results

    given = {
        option: bound
        for option in limit_options()
        if (bound := getattr(options, option.replace("-", "_"))) is not None
    }
    results = Results.open(options.folder)
    by_basis = recommend_by_basis(results, make_limits(given), options.rate)
    if options.json:
        print(json.dumps({basis: _plain(ranked) for basis, ranked in by_basis.items()}, indent=2))
        return EXIT_DONE
    if not by_basis:
        print("nothing was measured, so there is nothing to recommend")
    trade_offs = best_trade_offs(results.rows)
    for basis, ranked in by_basis.items():
        _print(basis, ranked, trade_offs)
    return EXIT_DONE


def _plain(ranked: Sequence[Assessment]) -> list[dict[str, Any]]:
    return [
        {
            "model": assessment.candidate.model,
            "variant": assessment.candidate.variant,
            "profile": assessment.candidate.profile,
            "load_point": assessment.candidate.load_point,
            "failed_share": assessment.candidate.failed_share,
            "client_limited": assessment.candidate.client_limited,
            "client_error_figures": sorted(assessment.candidate.client_error_figures),
            "probability": assessment.probability,
            "met": assessment.is_met,
            "missed": assessment.is_missed,
            "replicas": assessment.replicas,
            "utilisation": None if assessment.plan is None else assessment.plan.utilisation,
            "usd_per_hour": assessment.usd_per_hour,
            "checks": [
                {
                    "column": check.limit.column,
                    "bound": check.limit.bound,
                    "value": check.value,
                    "probability": check.probability,
                }
                for check in assessment.checks
            ],
            "doubts": assessment.doubts,
        }
        for assessment in ranked
    ]


def _print(basis: str, ranked: Sequence[Assessment], trade_offs: TradeOffs | None) -> None:
    from medsweep.loadgen.spec import load_in_words

    note = {
        "observed": "",
        "emulated": ": measured on another machine, not on the named hardware",
        "predicted": ": computed from datasheets, not measured",
    }[basis]
    print(f"{basis}{note}")
    show([_row(assessment) for assessment in ranked], as_json=False)
    for sentence in _sentences(basis, ranked):
        print(sentence)
    if trade_offs and (best := trade_offs.best[basis]):
        of = "token F1, latency and price" if basis in trade_offs.priced else "token F1 and latency"
        names = ", ".join(each.name for each in best)
        print(f"best trade-offs of {of} at {load_in_words(trade_offs.load_point)}: {names}")
    print()


def _row(assessment: Assessment) -> dict[str, Any]:
    from medsweep.loadgen.spec import load_in_words
    from medsweep.report.numbers import by_column

    price = assessment.usd_per_hour
    return {
        "configuration": assessment.candidate.name,
        "load": load_in_words(assessment.candidate.load_point),
        "limits met": "unknown"
        if assessment.probability is None
        else percent(assessment.probability),
        **{
            check.limit.column: None
            if check.value is None
            else by_column(check.limit.column, check.value)
            for check in assessment.checks
        },
        **(
            {"failed": percent(assessment.candidate.failed_share, 2)}
            if any(check.limit.column.endswith("_s") for check in assessment.checks)
            else {}
        ),
        "replicas": assessment.replicas,
        "slots in use": None
        if assessment.plan is None or assessment.plan.utilisation is None
        else percent(assessment.plan.utilisation),
        "USD/h": None if price is None else f"{price:.2f}",
    }


def _sentences(basis: str, ranked: Sequence[Assessment]) -> list[str]:
    """Return what to take, what the alternatives give up, and what to measure next."""
    from medsweep.decide.recommend import better, cheaper
    from medsweep.loadgen.spec import load_in_words

    first = ranked[0]
    sentences = []
    if first.is_met:
        word = "take" if basis == "observed" else "first"
        sentences.append(
            f"{word}: {first.candidate.name} at {load_in_words(first.candidate.load_point)}"
        )
        less, more = cheaper(ranked, first), better(ranked, first)
        if less is not None:
            sentences.append(f"cheaper: {less.candidate.name}: {_instead(less, first)}")
        if more is not None:
            sentences.append(f"better: {more.candidate.name}: {_instead(more, first)}")
    else:
        sentences.append("no configuration is known to meet all limits")
    thin = [assessment for assessment in ranked if not assessment.is_missed and assessment.doubts]
    sentences += [
        f"thin evidence, measure next: {assessment.candidate.name}: {'; '.join(assessment.doubts)}"
        for assessment in thin[:3]
    ]
    if len(thin) > 3:
        sentences.append(f"and {len(thin) - 3} more with thin evidence (--json lists all)")
    return sentences


def _instead(other: Assessment, chosen: Assessment) -> str:
    """Return what another choice would change, and which limits it may miss."""
    from medsweep.decide.limit_check import SURE
    from medsweep.report.numbers import by_column

    changes = []
    for column, words in (("token_f1", "token F1"), ("e2e_mean_s", "end-to-end time")):
        theirs, ours = other.candidate.mean(column), chosen.candidate.mean(column)
        if theirs is not None and ours is not None:
            shown, instead_of = by_column(column, theirs), by_column(column, ours)
            changes.append(
                f"the same {words}" if shown == instead_of else f"{words} {shown}, not {instead_of}"
            )
    if other.usd_per_hour is not None and chosen.usd_per_hour is not None:
        changes.append(f"USD/h {other.usd_per_hour - chosen.usd_per_hour:+.2f}")
    for check in other.checks:
        chance, limit = check.probability, check.limit
        sign = "<=" if limit.is_upper else ">="
        bound = f"{limit.column} {sign} {by_column(limit.column, limit.bound)}"
        value = "" if check.value is None else f" ({by_column(limit.column, check.value)})"
        if chance is None:
            changes.append(f"{bound} is unknown{value}")
        elif chance < SURE:
            changes.append(f"{bound} with a probability of only {percent(chance)}{value}")
    if other.is_met:
        changes.append("also meets the limits")
    return ", ".join(changes)
