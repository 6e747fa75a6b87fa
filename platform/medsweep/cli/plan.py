"""`medsweep plan`: show what would run, and predict what it takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, add_sweep, load_sweep, show
from medsweep.comparison.engines import engine_difference
from medsweep.errors import EXIT_DONE
from medsweep.hardware.profile import FIRST_CUDA_13, GIB
from medsweep.names import first_names
from medsweep.serving.engines.choice import NAMED

if TYPE_CHECKING:
    from medsweep.hardware.observe import ObservedHardware
    from medsweep.sweep.cell import Cell, ServerCell
    from medsweep.sweep.predict import CellPrediction, Lengths
    from medsweep.sweep.resolve import Resolved

HEADINGS = {
    "cell": "cell",
    "key": "key",
    "engine": "engine",
    "adapters": "adapters",
    "dtype": "dtype",
    "basis": "basis here",
    "finetuned_on": "fine-tuned on",
    "memory": "memory",
    "training_memory": "to train",
    "ttft": "TTFT",
    "tpot": "TPOT",
    "least": "TPOT at least",
    "tokens_per_s": "tokens/s",
    "bound": "bound by",
    "load": "load time",
    "usd": "USD",
    "refused": "refused",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    parser.add_argument(
        "--parquet",
        type=Path,
        metavar="FILE",
        help="write the predictions as rows of benchmark.parquet, basis = predicted",
    )
    parser.add_argument(
        "--on",
        choices=["here", "k8s"],
        default="here",
        help="where it would run: in a cluster, the images decide which engines there are; "
        "default: here",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the cells in the order of the run, each with the roofline's prediction."""
    spec = load_sweep(options)
    from medsweep.hardware.observe import observe_host
    from medsweep.sweep.predict import lengths_of, predict_cell, predicted_rows
    from medsweep.sweep.resolve import resolve

    resolved = resolve(spec, here=options.on == "here")
    lengths = lengths_of(resolved.split.train, resolved.split.evaluation)
    predictions = [predict_cell(spec, cell, lengths) for cell in resolved.plan.cells]
    here = observe_host() if options.on == "here" else None
    rows = [_row(resolved, each, here, as_json=options.json) for each in predictions]
    rows += [_server_row(cell, as_json=options.json) for cell in resolved.plan.servers]
    headings = {**HEADINGS}
    if here is None:
        del headings["basis"]
    show(rows, as_json=options.json, headings=headings)
    if options.parquet is not None:
        from medsweep.results.schema import BENCHMARK
        from medsweep.results.store import write_rows

        predicted = [row for each in predictions for row in predicted_rows(resolved, each)]
        write_rows(options.parquet, BENCHMARK, predicted)
    if not options.json:
        print(f"\n{_summary(resolved, predictions, lengths)}")
    return EXIT_DONE


def _row(
    resolved: Resolved, prediction: CellPrediction, here: ObservedHardware | None, *, as_json: bool
) -> dict[str, Any]:
    """Return one cell's row; for JSON, with SI figures of every load point.

    Without this machine's hardware, as for a cluster, the basis is not known.
    """
    from medsweep.hardware.observe import matches
    from medsweep.sweep.finetunable import finetune_caveat, finetune_need

    cell = prediction.cell
    adapter = resolved.plan.adapters[cell.adapter] if cell.refused is None else None
    row = {
        "cell": cell.name,
        "key": cell.key,
        "cpus": cell.profile.cpus,
        "gpus": cell.profile.gpus,
        "engine": cell.serving.engine,
        "adapters": cell.serving.adapters,
        "dtype": cell.dtype,
        "basis": here and ("observed" if matches(cell.profile, here) is None else "emulated"),
        "finetuned_on": adapter and adapter.profile.name,
    }
    need = adapter and finetune_need(resolved.spec.finetune, adapter.model, adapter.profile)
    if as_json:
        return row | {
            "memory_bytes": prediction.memory_bytes,
            "sequences": prediction.sequences,
            "training_memory_bytes": need and {**asdict(need), "total": need.total},
            "finetune_caveat": adapter
            and finetune_caveat(resolved.spec.finetune, adapter.model, adapter.profile),
            "load_s": prediction.load_s,
            "usd": prediction.usd,
            "points": [
                {
                    "load_point": point.point.name,
                    "ttft_s": point.ttft_s,
                    "tpot_s": point.tpot_s,
                    "least_ttft_s": point.least_ttft_s,
                    "least_tpot_s": point.least_tpot_s,
                    "e2e_s": point.e2e_s,
                    "requests_per_s": point.requests_per_s,
                    "bound": point.bound,
                }
                for point in prediction.points
            ],
            "engine_reason": cell.serving.engine_reason,
            "adapters_reason": cell.serving.adapters_reason,
            "refused": cell.refused,
        }
    return {
        **row,
        **_words(resolved, prediction),
        "training_memory": need and f"{need.total / GIB:.1f} GiB",
        "refused": cell.refused,
    }


def _server_row(cell: ServerCell, *, as_json: bool) -> dict[str, Any]:
    """Return the row of an external server, of which nothing is known before it is asked."""
    profile = cell.profile
    known = {
        "cell": cell.name,
        "key": cell.key,
        "cpus": profile and profile.cpus,
        "gpus": profile and profile.gpus,
        "engine": cell.server.engine,
        "basis": "observed",
        "refused": cell.refused,
    }
    if as_json:
        return known | {"url": cell.server.url, "models": cell.server.models, "points": []}
    return {**dict.fromkeys(HEADINGS), **known}


def _choices(cells: Sequence[Cell]) -> list[str]:
    """Return a line for each thing that `auto` chose for some cells, and one if engines differ."""
    chosen: dict[str, list[str]] = {}
    for cell in cells:
        serving = cell.serving
        for choice, reason in (
            (f"engine {serving.engine}", serving.engine_reason),
            (f"adapters {serving.adapters}", serving.adapters_reason),
        ):
            if reason != NAMED:
                chosen.setdefault(f"{choice}: {reason}", []).append(cell.name)
    lines = [f"{choice} ({first_names(names)})" for choice, names in chosen.items()]
    engines = {cell.name: cell.serving.engine for cell in cells if cell.refused is None}
    difference = engine_difference(engines)
    return lines if difference is None else [*lines, difference]


def _words(resolved: Resolved, prediction: CellPrediction) -> dict[str, str | None]:
    """Return a prediction as text, for the last load point, which is usually the heaviest."""
    from medsweep.report.numbers import seconds
    from medsweep.sweep.progress import duration

    words: dict[str, str | None] = dict.fromkeys(
        ("ttft", "tpot", "least", "tokens_per_s", "bound", "load", "usd")
    )
    words["memory"] = f"{prediction.memory_bytes / GIB:.1f} GiB"
    if prediction.points:
        last = prediction.points[-1]
        rate = last.requests_per_s * resolved.spec.load.max_tokens
        words["ttft"] = seconds(last.ttft_s)
        words["tpot"] = seconds(last.tpot_s)
        if last.least_tpot_s is not None:
            words["least"] = seconds(last.least_tpot_s)
        words["tokens_per_s"] = f"{rate:.3g}"
        words["bound"] = last.bound
    if prediction.load_s is not None:
        words["load"] = duration(prediction.load_s)
    if prediction.usd is not None:
        words["usd"] = f"{prediction.usd:.2f}"
    return words


def _summary(resolved: Resolved, predictions: list[CellPrediction], lengths: Lengths) -> str:
    from medsweep.prediction.roofline import ASSUMPTIONS
    from medsweep.sweep.batches import training_runs
    from medsweep.sweep.finetunable import finetune_caveat
    from medsweep.sweep.predict import TRAINING_START_S, predict_finetune_s
    from medsweep.sweep.progress import duration

    spec, plan = resolved.spec, resolved.plan
    starts_s = TRAINING_START_S * len(training_runs(plan.adapters.values()))
    training_s, unknown = starts_s, 0
    for adapter in plan.adapters.values():
        predicted_s = predict_finetune_s(spec, adapter.model, adapter.profile, lengths)
        training_s += predicted_s or 0.0
        unknown += predicted_s is None
    load_s = sum(each.load_s or 0.0 for each in predictions)
    usd = [each.usd for each in predictions if each.usd is not None]
    measurements = len(spec.load.points) * spec.load.repeats + spec.load.compare_base
    last = spec.load.points[-1].words
    refused = sum(cell.refused is not None for cell in plan.all_cells)
    on_servers = f" ({len(plan.servers)} of them on external servers)" if plan.servers else ""
    lines = [
        f"{len(plan.all_cells)} cells{on_servers}, {refused} refused; "
        f"{len(plan.adapters)} fine-tune{'s' * (len(plan.adapters) != 1)} "
        f"on {lengths.pairs} pairs; "
        f"{measurements} measurements per cell with {lengths.questions} questions; "
        f"dataset: {resolved.split.summary}",
        f"estimated from datasheets (at {last}), not measured: fine-tuning "
        f"{duration(training_s)}, of which starting Ray Train {duration(starts_s)}"
        + (f" ({unknown} not predicted)" if unknown else "")
        + ", "
        f"under load {duration(load_s)}, "
        + (f"USD {sum(usd):.2f} for the {len(usd)} cells with a price" if usd else "no prices"),
        ASSUMPTIONS,
    ]
    for adapter in plan.adapters.values():
        caveat = finetune_caveat(spec.finetune, adapter.model, adapter.profile)
        if caveat is not None:
            lines.append(f"fine-tune of {adapter.model.name}@{adapter.profile.name}: {caveat}")
    wanted = spec.serve.max_batch_size
    lines += [
        f"{each.cell.name}: its memory holds {each.sequences} of the {wanted} sequences of "
        f"serve.max_batch_size; {_consequence(each.cell.serving.engine, each.sequences)}"
        for each in predictions
        if each.sequences < wanted and each.cell.refused is None
    ]
    lines += _choices(plan.cells)
    types = {cell.profile.accelerator for cell in plan.cells if cell.profile.accelerator}
    lines += [
        f"{gpu.name}: needs PyTorch's builds for CUDA 12.6, which end with PyTorch 2.15; the cu126 "
        "image pins a version before it"
        for gpu in sorted(types, key=lambda each: each.name)
        if gpu.compute_capability < FIRST_CUDA_13
    ]
    return "\n".join(lines)


def _consequence(engine: str, sequences: int) -> str:
    if engine == "generate":
        return f"engine generate may run out of memory: set it to {sequences}, or quantize"
    return "the others wait"
