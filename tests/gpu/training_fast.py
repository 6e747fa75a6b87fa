"""How fast training is, what memory it takes, and whether that was counted right."""

from typing import Any

import torch

from gpu.device import DEVICE, GPU, NAME, peak_gib, released, timed
from gpu.models import shaped
from gpu.report import Report
from gpu.training import examples, run
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
