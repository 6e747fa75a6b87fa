"""Whether training computes what it should, in every layout and dtype."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpu.device import DEVICE, GPU, released
from gpu.models import small
from gpu.report import Report
from gpu.training import examples, pairs_as_examples, run
from medsweep.datasets.load import load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.datasets.split import Split
from medsweep.finetune.data import collate
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.multiple_choice import Chooser
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.session import finetune
from medsweep.finetune.verify import verify
from medsweep.models.precision import TrainingPrecision
from medsweep.models.weights import identify

ARCHITECTURES = ("llama-3-8b", "gemma-1.1-7b", "distilgpt2") if GPU else ("llama-3-8b",)
WIDTH = 512 if GPU else 48
BATCH = 8 if GPU else 4

# In float32, sums in another order differ by some 1e-7 each; four steps add up.
LAYOUTS_AGREE = 1e-4
# How far the loss of the first step may be from the same weights' in float32: bfloat16 keeps 8 bits
# and float16 11, and the loss is a mean over hundreds of tokens. What is learnt adds to it.
DTYPES_AGREE = {"bfloat16": 0.01, "float16": 0.005}
LEARNT_AGREE = 0.02
DTYPES = (
    ("bfloat16", "none"),
    ("float16", "none"),
    ("float32", "nf4"),
    ("float16", "nf4"),
    ("bfloat16", "nf4"),
    ("bfloat16", "int8"),
)


def _recipe(**fields: Any) -> Recipe:
    plain = {
        "dropout": 0.0,
        "batch_size": BATCH,
        "micro_batch_size": BATCH,
        "max_seq_length": WIDTH,
        "dtype": "float32",
        "gradient_checkpointing": False,
    }
    return Recipe.model_validate({**plain, **fields})


def layouts(report: Report) -> None:
    """Compare each layout of the same steps with rows padded to the full width."""
    lessons = examples(4 * BATCH, longest=WIDTH - 32 if GPU else 40)
    variants: dict[str, dict[str, Any]] = {
        "padded": {"packing": "padded"},
        "packed": {"packing": "packed"},
        "one row at a time": {"packing": "packed", "micro_batch_size": 1},
        "recomputed activations": {"packing": "packed", "gradient_checkpointing": True},
    }
    for name in ARCHITECTURES:
        spec, folder = small(name)
        losses = {}
        for variant, fields in variants.items():
            with released():
                losses[variant] = run(spec, folder, lessons, _recipe(**fields), steps=4).losses
        worst = max(
            abs(one - other)
            for each in losses.values()
            for one, other in zip(each, losses["padded"], strict=True)
        )
        report.row(
            "training.layouts",
            ok=worst < LAYOUTS_AGREE,
            model=name,
            losses=losses["padded"],
            worst=worst,
        )


def dtypes(report: Report) -> None:
    """Compare the first step in each dtype and quantization with float32, and train on."""
    for name in ARCHITECTURES:
        spec, folder = small(name)
        lessons = pairs_as_examples(spec, folder, 4 * BATCH, 192 if GPU else 96)
        with released():
            exact = {"none": _losses(spec, folder, lessons, "float32", "none")}
        for dtype, quantization in DTYPES if GPU else DTYPES[:1]:
            what = {"model": name, "dtype": dtype, "quantization": quantization}
            try:
                with released():
                    losses = _losses(spec, folder, lessons, dtype, quantization)
            except Exception as error:  # noqa: BLE001 one dtype must not end the stage
                report.crashed("training.dtype", error, **what)
                continue
            # Quantized weights are other weights: they are compared with themselves.
            reference = exact.setdefault(quantization, losses)
            off = [abs(one - other) for one, other in zip(losses, reference, strict=True)]
            ok = off[0] <= DTYPES_AGREE.get(dtype, 0.0) and off[-1] <= LEARNT_AGREE
            report.row("training.dtype", ok=ok, **what, losses=losses, off=off)


def _losses(
    spec: Any, folder: Path, lessons: list[Any], dtype: str, quantization: str
) -> list[float]:
    recipe = _recipe(
        packing="packed",
        dtype=dtype,
        quantization=quantization,
        max_seq_length=512,
        learning_rate=1e-2,
    )
    return run(spec, folder, lessons, recipe, steps=8).losses


def resume(report: Report) -> None:
    """A resumed run ends with the weights of an uninterrupted one, to the last bit."""
    spec, folder = small("llama-3-8b")
    lessons = examples(4 * BATCH, length=200 if GPU else 30)
    recipe = _recipe(dropout=0.25)
    with released():
        finished = _copied(run(spec, folder, lessons, recipe, steps=4).strategy.state())
        half = _copied(run(spec, folder, lessons, recipe, steps=4, stop_after=2).strategy.state())
        again = run(spec, folder, lessons, recipe, steps=4, resume=(2, half)).strategy.state()
        worst = max(
            float((finished[name].float() - again[name].float().cpu()).abs().max())
            for name in finished
        )
    report.row("training.resume", ok=worst == 0, worst=worst)


def _copied(state: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone().cpu() for name, tensor in state.items()}


def leak(report: Report) -> None:
    """In a packed row, one sequence does not change another's logits."""
    spec, folder = small("llama-3-8b")
    length = 100 if GPU else 20
    first, second = examples(2, length=length)
    other = replace(first, input_ids=tuple(reversed(first.input_ids)))
    model = run(spec, folder, [first, second], _recipe(), steps=1).model.eval()

    def of_second(before: Any) -> torch.Tensor:
        row = collate([(before, second)], 0)
        inputs = {name: one.to(DEVICE) for name, one in row.items() if name != "labels"}
        with torch.no_grad():
            logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, length:]
        return logits.float()

    worst = float((of_second(first) - of_second(other)).abs().max())
    report.row("training.leak", ok=worst < 1e-5, worst=worst)


def overflow(report: Report) -> None:
    """A float16 gradient that overflows is skipped, and its scale is lowered."""
    spec, folder = small("llama-3-8b")
    lessons = examples(8, length=100 if GPU else 20)
    scaled = TrainingPrecision("float16" if GPU else "float32", grad_scaling=True)
    strategy: Any = run(spec, folder, lessons, _recipe(), steps=1, precision=scaled).strategy
    scaler = strategy._scaler
    # Float16 ends at 65,504, float32 at 3e38.
    scale = 2.0**30 if GPU else 2.0**126
    scaler.load_state_dict({**scaler.state_dict(), "scale": scale})
    rows = [(example,) for example in lessons]
    batch = {name: one.to(DEVICE) for name, one in collate(rows, 0).items()}
    strategy.learn(batch, 1 / 400 if GPU else 1e3, last=True)
    norm, left = strategy.update(1e-4), scaler.get_scale()
    report.row("training.overflow", ok=norm is None and left < scale, norm=norm, scale=left)


def job(report: Report) -> None:
    """A job from the pairs to a verified adapter, evaluations and checkpoints included."""
    from pathlib import Path

    pairs = load_sources(DatasetSpec())[0].pairs
    count = 64 if GPU else 8
    with tempfile.TemporaryDirectory() as scratch:
        made = FineTuneJob(
            recipe=Recipe(rank=8, dropout=0.05, learning_rate=1e-2, epochs=2 if GPU else 1),
            weights=identify(small("llama-3-8b")[0], [pair.answer for pair in pairs[:100]]),
            split=Split(tuple(pairs[:count]), tuple(pairs[300:306]), "hash", "pairs"),
            folder=Path(scratch) / "adapter",
            max_tokens=12,
            seed=7,
            provenance={},
            checkpoints=Path(scratch) / "checkpoints",
        )
        rows: list[Any] = []
        finetune(made, rows.append)
        problems = [check.problem for check in verify(made.folder) if check.problem]
        chooser, asked = Chooser(made.folder), made.split.evaluation[0]
        place, probability = chooser.choose(asked.question, [asked.answer, "No.", "Yes, both."])
        computed_on = chooser._model.device.type
    losses = [row["eval_loss"] for row in rows]
    report.row(
        "training.job",
        ok=not problems and losses[-1] < losses[0],
        losses=losses,
        problems=problems,
    )
    report.row(
        "training.choice",
        ok=computed_on == torch.device(DEVICE).type and 0 < probability <= 1,
        computed_on=computed_on,
        chosen=place,
        probability=probability,
    )
