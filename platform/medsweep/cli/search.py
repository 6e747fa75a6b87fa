"""`medsweep search`: search the grid of recipes that a sweep names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, add_out, add_sweep, load_sweep, show
from medsweep.digits import percent, probability
from medsweep.errors import EXIT_DONE, InputError, MedSweepError, UnknownName, require

if TYPE_CHECKING:
    from medsweep.search.summary import SearchSummary
    from medsweep.sweep.cell import AdapterPlan
    from medsweep.sweep.resolve import Resolved


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    parser.add_argument("--model", metavar="NAME", help="required if the sweep has several models")
    add_out(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the trials that are not recorded yet; print main effects and the best trade-off."""
    spec = load_sweep(options)
    if spec.search is None:
        raise InputError(
            f"{options.sweep}: no `search` section; see `medsweep init --template paper-search`"
        )
    require("ray", "torch")
    from medsweep.cluster.local import LocalCluster
    from medsweep.hardware.observe import host_profile
    from medsweep.models.weights import fetch_weights
    from medsweep.results.store import exclusive, private
    from medsweep.search.summary import write_summary
    from medsweep.search.trial import grid
    from medsweep.search.tune import run_trials
    from medsweep.sweep.finetune import finetune_job
    from medsweep.sweep.progress import SweepProgress
    from medsweep.sweep.resolve import resolve

    resolved = resolve(spec)
    adapter = _adapter(resolved, options.model)
    sweep_folder = (options.out / spec.name).resolve()
    folder = sweep_folder / "search" / adapter.model.name
    job = finetune_job(resolved, folder, adapter)
    points, progress, host = grid(spec.search, job), SweepProgress(), host_profile()
    over = 0

    def tell(point: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        values = ", ".join(f"{name} {value:g}" for name, value in point.items())
        figure = f"{spec.search.metric} {row[spec.search.metric]:.4f}" if spec.search else ""
        progress.note(f"epoch {row['epoch']}/{job.recipe.epochs}: {values}: {figure}")

    def ended() -> None:
        nonlocal over
        over += 1
        progress.detail(f"{over} of {len(points)} ended", over / len(points))

    with private(sweep_folder, applies=not spec.dataset.is_public), exclusive(folder):
        progress.note(f"{spec.name}: {len(points)} trials of up to {job.recipe.epochs} epochs")
        progress.expect({"trial": len(points)})
        if job.weights.on_hub:
            with progress.phase("fetch weights"):
                fetch_weights(job.weights)  # the cluster's workers have no token for the hub
        with ExitStack() as stack:
            with progress.phase("start Ray"):
                cluster = stack.enter_context(LocalCluster())
                cluster.ensure_nodes([host])
            with progress.step("trial", adapter.model.name, len(points), announce=True):
                run_trials(
                    job,
                    points,
                    folder / "trials",
                    spec.search,
                    cpus=host.cpus,
                    gpus=host.gpus,
                    tell=tell,
                    ended=ended,
                )
        summary = write_summary(folder, job, points, spec.search.metric)
    if options.json:
        print(json.dumps({"folder": str(folder), **summary.as_dict()}, indent=2))
    else:
        _print(summary, folder)
    return EXIT_DONE if summary.trade else MedSweepError.exit_code


def _adapter(resolved: Resolved, model: str | None) -> AdapterPlan:
    adapters = {each.model.name: each for each in resolved.plan.adapters.values()}
    if model is not None and model not in adapters:
        raise UnknownName("model of this sweep", model, adapters)
    if model is None and len(adapters) != 1:
        raise InputError(
            f"choose a model with --model: {', '.join(sorted(adapters)) or 'none can run'}"
        )
    return adapters[model] if model else next(iter(adapters.values()))


def _print(summary: SearchSummary, folder: Path) -> None:
    print(", ".join(f"{count} {status}" for status, count in summary.trials.items()))
    if summary.effects:
        print(
            f"\nmain effects on {summary.metric} after epoch {summary.compared_at}, 95 % intervals"
        )
        verdicts = {True: "yes", False: "not shown", None: "too few trials"}
        rows = [
            {
                "parameter": effect.parameter,
                "value": f"{level.value:g}",
                "effect": f"{level.effect:+.4f}",
                "interval": "-" if level.low is None else f"{level.low:+.4f} to {level.high:+.4f}",
                "variance": percent(effect.share),
                "p": "-" if effect.p is None else probability(effect.p),
                "matters": verdicts[effect.matters],
            }
            for effect in summary.effects
            for level in effect.levels
        ]
        show(rows, as_json=False)
    if summary.trade:
        from medsweep.search.record import PARAMETERS

        best, cost = summary.trade.best, summary.trade.cost
        values = ", ".join(f"{name} {best[name]:g}" for name in PARAMETERS)
        print(f"\nbest trade-off of {summary.metric} and {cost}: {values}")
        print(f"  {summary.metric} {best[summary.metric]:.4f}, {cost} {best[cost]:,.0f}")
        print(
            "  chosen on the questions that it is measured on: its lead of "
            f"{summary.trade.lead:.4f} over the mean trial may be luck"
        )
        print("  one training run per trial: fine-tune it with another seed before you rely on it")
    print(f"\ntrials: {folder / 'search.parquet'}\nfigure: {folder / 'search.svg'}")
