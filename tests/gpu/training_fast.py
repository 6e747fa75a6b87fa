"""How fast training is, what memory it takes, and whether that was counted right."""

import shutil
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
import torch._dynamo
from torch._inductor.exc import InvalidCxxCompiler, TritonMissing

from gpu.device import DEVICE, GPU, NAME, peak_gib, released, timed
from gpu.models import shaped
from gpu.report import Report
from gpu.training import Run, examples, run
from medsweep.finetune.base import grow_segments
from medsweep.finetune.evaluate import answer_loss
from medsweep.finetune.memory import Settings, finetune_memory
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.team import Team
from medsweep.models.loading import load_model

PLANS: tuple[dict[str, Any], ...] = (
    {"model": "distilgpt2", "rows": 8},
    {"model": "llama-3-8b", "rows": 1},
    {"model": "llama-3-8b", "rows": 8},
    {"model": "llama-3-8b", "rows": 8, "recompute": True},
    {"model": "llama-3-8b", "rows": 8, "packing": "packed"},
    {"model": "llama-3-8b", "rows": 8, "quantization": "nf4"},
)


def speed(report: Report) -> None:
    """Time five steps of eight examples in each plan."""
    for plan in PLANS if GPU else PLANS[:2]:
        spec, folder = shaped(plan["model"])
        recipe = _recipe(**plan)
        lessons = examples(40 if GPU else 8, longest=min(2000, recipe.width(spec)))
        try:
            with released():
                done = run(spec, folder, lessons, recipe, steps=5 if GPU else 1)
                # Forward 2 and backward 2 operations per weight and token, and 2 more recomputed.
                operations = 6 if recipe.gradient_checkpointing else 4
                report.row(
                    "training.speed",
                    device=NAME,
                    **plan,
                    tokens_per_s=round(done.tokens_per_s),
                    flops=done.tokens_per_s * spec.computed_parameters * operations,
                    step_s=[round(one, 4) for one in done.seconds],
                    step_tokens=done.tokens,
                    peak_gib=peak_gib(),
                    losses=done.losses,
                )
                del done
        except torch.OutOfMemoryError as error:
            report.crashed("training.speed", error, **plan)


def compiled(report: Report) -> None:
    """Make the same steps with compiled layers and without, in turn; compare times and losses.

    Without a GPU the layers are traced, but not compiled, which needs no compiler.
    """
    if GPU and shutil.which("gcc") is None and shutil.which("cc") is None:
        report.row("training.compiled", not_run="Triton needs a C compiler, and there is none")
        return
    spec, folder = shaped("llama-3-8b")
    recipe = _recipe("llama-3-8b", 1, batch=8 if GPU else 2).changed(dropout=0.0)
    steps = 8 if GPU else 3
    lessons = examples(steps * recipe.batch_size, longest=min(2000, recipe.width(spec)))
    with released():
        runs = {
            kind: run(spec, folder, lessons, recipe, steps=steps, stop_after=0)
            for kind in ("eager", "compiled")
        }
        try:
            graphs = alternate(runs, spec.layers, backend="inductor" if GPU else "aot_eager")
        except torch._dynamo.exc.TorchDynamoException as error:
            if (missing := missing_compiler(error)) is None:
                raise
            report.row("training.compiled", not_run=missing)
            return
        report_compiled(report, runs, graphs, model=spec.name, peak_gib_of_both=peak_gib())


def missing_compiler(error: BaseException) -> str | None:
    """Return which compiler TorchInductor did not find; None if the error says something else."""
    cause = getattr(error, "inner_exception", error)
    if isinstance(cause, TritonMissing | InvalidCxxCompiler):
        return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
    return None


def alternate(runs: Mapping[str, Run], layers: int, *, backend: str) -> int:
    """Make each step with the layers of both runs, and return how many graphs were compiled.

    Args:
        runs: `eager` and `compiled`, before their first step.
        layers: of the model.
        backend: of torch.compile.
    """
    [blocks] = (
        module
        for module in runs["compiled"].model.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == layers
    )
    torch._dynamo.utils.counters.clear()
    for block in blocks:
        block.compile(dynamic=True, backend=backend)
    for number, step in enumerate(runs["eager"].plan):
        for kind in sorted(runs, reverse=number % 2 == 0):
            runs[kind].step(step)
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def report_compiled(report: Report, runs: Mapping[str, Run], graphs: int, **more: Any) -> None:
    """Report the steps of `alternate`: what compiling took, and what it gains.

    Args:
        report: takes the row.
        runs: `eager` and `compiled`.
        graphs: that were compiled.
        more: further columns.
    """
    eager, done = runs["eager"], runs["compiled"]
    # The first step compiles, and the second may do so anew for other lengths.
    first, _, *steady = zip(eager.seconds, done.seconds, strict=True)
    apart = max(abs(a - b) / a for a, b in zip(eager.losses, done.losses, strict=True))
    report.row(
        "training.compiled",
        # Compiled kernels round fewer intermediate values to 16 bits.
        ok=apart < (0.01 if GPU else 1e-4),
        device=NAME,
        **more,
        graphs=graphs,
        compile_s=first[1] - first[0],
        eager_s=eager.seconds,
        compiled_s=done.seconds,
        times_as_fast=median(a / b for a, b in steady),
        step_tokens=eager.tokens,
        losses_apart=apart,
    )


def memory(report: Report) -> None:
    """Compare the counted memory with the peak, at full rows."""
    width = 2048 if GPU else 32
    for quantization, rows, recompute in (
        ("none", 1, False),
        ("none", 4, True),
        ("nf4", 1, False),
        ("nf4", 4, True),
    )[: 4 if GPU else 1]:
        spec, folder = shaped("llama-3-8b")
        recipe = _recipe(
            "llama-3-8b", rows, quantization=quantization, recompute=recompute, batch=rows
        )
        with released():
            run(spec, folder, examples(rows, length=width), recipe, steps=1)
            peak = peak_gib()
        dtype = "bfloat16" if GPU else "float32"
        need = finetune_memory(Settings(spec, recipe, dtype))
        counted = sum((need.weights, need.adapters, need.activations, need.logits)) / 2**30
        report.row(
            "training.memory",
            # It must never be under the peak; far above it, it would refuse what fits.
            ok=None if peak is None else peak <= counted <= peak * 1.4,
            quantization=quantization,
            rows=rows,
            recompute=recompute,
            peak_gib=peak,
            counted_gib=counted,
            segments_grow=grow_segments(DEVICE),
        )


def evaluation(report: Report) -> None:
    """The evaluation before the first epoch: sixteen sequences of 2,048 tokens."""
    spec, folder = shaped("llama-3-8b")
    held_out = examples(16 if GPU else 2, length=2048 if GPU else 32)
    team = Team.current() if GPU else Team()
    with released():
        _evaluate(report, spec, folder, held_out, team)


def _evaluate(report: Report, spec: Any, folder: Any, held_out: Any, team: Team) -> None:
    dtype = torch.bfloat16 if GPU else torch.float32
    model = load_model(folder, dtype=dtype, device_map={"": DEVICE}).eval()
    loaded = peak_gib()
    seconds = timed(lambda: answer_loss(model, held_out, 0, team=team))
    report.row(
        "training.evaluation",
        device=NAME,
        model=spec.name,
        seconds=seconds,
        loaded_gib=loaded,
        peak_gib=peak_gib(),
    )


def _recipe(
    model: str,
    rows: int,
    *,
    quantization: str = "none",
    recompute: bool = False,
    packing: str = "bucketed",
    batch: int = 8,
) -> Recipe:
    return Recipe.model_validate(
        {
            "batch_size": batch,
            "micro_batch_size": rows,
            "quantization": quantization,
            "gradient_checkpointing": recompute,
            "packing": packing,
            "max_seq_length": 2048 if GPU else 64,
        }
    )
