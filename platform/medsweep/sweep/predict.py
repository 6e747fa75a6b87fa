"""Predict cells from the datasheets of their hardware, before anything is rented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.hardware.observe import HOST, matches, observe_host
from medsweep.hardware.profile import HardwareProfile
from medsweep.loadgen.spec import LoadPoint
from medsweep.models.precision import (
    SEQUENCE_TOKENS,
    choose_dtype,
    memory_needed_bytes,
    sequences_that_fit,
)
from medsweep.models.spec import ModelSpec
from medsweep.prediction.roofline import (
    Machine,
    datasheet_machine,
    decode_step,
    lora_step,
    measured_machine,
    prefill,
    served_by,
)
from medsweep.serving.engines.compatibility import SPLITTING, packs_weights
from medsweep.sweep.batches import training_runs
from medsweep.sweep.cell import AdapterPlan, AnyCell, Cell
from medsweep.sweep.cell_columns import cell_columns, cell_gpu_use, priced
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec

TOKENS_PER_WORD = 1.33
"""For English with a byte-pair vocabulary: OpenAI's rule of thumb, 100 tokens for 75 words."""

TEMPLATE_TOKENS = 40
"""Tokens of the instruction and the template around a question."""

EVALUATION_BATCH = 16
"""Number of questions that are answered together after each epoch."""

TRAINING_START_S = 12.0
"""What a run of Ray Train takes beside training: mostly imports in its processes.

The least of three stand-ins on two cores of an AMD EPYC with AVX-512 (docs/results/benchmarks.md).
"""


@dataclass(frozen=True)
class Lengths:
    """Lengths of a dataset's texts, in tokens.

    Attributes:
        prompt: mean length of a prompt.
        sequence: mean length of a prompt with its reference answer.
        pairs: number of training pairs.
        questions: number of evaluation questions.
    """

    prompt: int
    sequence: int
    pairs: int
    questions: int


@dataclass(frozen=True)
class PointPrediction:
    """One load point of one cell.

    Attributes:
        point: the load.
        ttft_s, tpot_s: estimates, in seconds.
        least_ttft_s, least_tpot_s: at the hardware's peaks, in seconds; None where not known.
        e2e_s: end-to-end time of an answer of `max_tokens`, in seconds.
        requests_per_s: rate that the engine can answer, in an open loop at most the arrival rate.
        bound: the part of a decoding step that takes longest.
    """

    point: LoadPoint
    ttft_s: float
    tpot_s: float
    least_ttft_s: float | None
    least_tpot_s: float | None
    e2e_s: float
    requests_per_s: float
    bound: str

    @property
    def measured_s(self) -> float:
        """How long one repeat is measured, in seconds."""
        if self.point.duration_s is not None:
            return self.point.duration_s
        return (self.point.measured_requests or 0) / self.requests_per_s


@dataclass(frozen=True)
class CellPrediction:
    """The prediction of one cell.

    Attributes:
        cell: the cell.
        memory_bytes: weights and the sequences that are decoded together, in one replica.
        sequences: as many of `serve.max_batch_size` as have room, each as long as the dataset's
            mean prompt and `load.max_tokens`.
        points: by load point; empty where the datasheet is incomplete.
        load_s: time under load, all repeats together; None like `points`.
        usd: price of that time; None without a price.
    """

    cell: Cell
    memory_bytes: int
    sequences: int
    points: tuple[PointPrediction, ...]
    load_s: float | None
    usd: float | None


def lengths_of(train: Sequence[Pair], evaluation: Sequence[Pair]) -> Lengths:
    """Return mean lengths, estimated from words without a tokenizer."""
    prompt = _mean_words([pair.question for pair in evaluation])
    sequence = _mean_words([f"{pair.question} {pair.answer}" for pair in train])
    return Lengths(
        prompt=round(prompt * TOKENS_PER_WORD) + TEMPLATE_TOKENS,
        sequence=round(sequence * TOKENS_PER_WORD) + TEMPLATE_TOKENS,
        pairs=len(train),
        questions=len(evaluation),
    )


def predict_cell(
    spec: SweepSpec, cell: Cell, lengths: Lengths, *, longest: int = SEQUENCE_TOKENS
) -> CellPrediction:
    """Predict a cell's latency, throughput, memory and cost.

    Args:
        spec: the sweep.
        cell: a cell of its plan.
        lengths: of its dataset.
        longest: tokens of the longest request, which decides whether a model is split.
    """
    how: dict[str, Any] = {
        "dtype": cell.dtype,
        "quantization": spec.serve.quantization,
        "tokens": lengths.prompt + spec.load.max_tokens,
        "packed": packs_weights(
            cell.serving.engine,
            cell.profile,
            dtype=cell.dtype,
            quantization=spec.serve.quantization,
        ),
    }
    use = cell_gpu_use(spec, cell, longest)
    # A plugin decides for itself what it does with several GPUs.
    gpus = use.gpus if cell.serving.engine in SPLITTING else 1
    fit = sequences_that_fit(cell.model, cell.profile, **how, splits=gpus > 1)
    sequences = min(spec.serve.max_batch_size, max(1, fit))
    memory = memory_needed_bytes(cell.model, **how, sequences=sequences)
    machine = machine_of(cell.profile, cell.dtype, max(1, gpus))
    if machine is None or cell.refused is not None:
        return CellPrediction(cell, memory, sequences, (), None, None)
    points = tuple(
        _predict_point(spec, cell, machine, lengths, each, most=sequences, replicas=use.replicas)
        for each in spec.load.points
    )
    once_s = sum(each.measured_s for each in points)
    load_s = once_s * spec.load.repeats
    if spec.load.compare_base:
        load_s += lengths.questions / points[-1].requests_per_s
    price = cell.profile.usd_per_hour
    return CellPrediction(
        cell, memory, sequences, points, load_s, None if price is None else price * load_s / 3600
    )


def predicted_steps_s(
    resolved: Resolved, adapters: Sequence[AdapterPlan], cells: Sequence[AnyCell]
) -> dict[str, float]:
    """Return the predicted seconds of a step of each kind; a kind that is not predicted is absent.

    A step on this machine in place of other hardware is not predicted: datasheets of that hardware
    say nothing about this one.

    Args:
        resolved: the sweep.
        adapters: fine-tunes to come.
        cells: cells to measure.
    """
    spec, split, here = resolved.spec, resolved.split, observe_host()
    lengths = lengths_of(split.train, split.evaluation)
    training = [
        predict_finetune_s(spec, each.model, each.profile, lengths)
        if matches(each.profile, here) is None
        else None
        for each in adapters
    ]
    loads: list[float | None] = []
    for cell in cells:
        load_s: float | None = None
        if isinstance(cell, Cell) and matches(cell.profile, here) is None:
            load_s = predict_cell(spec, cell, lengths).load_s
        measurements = len(spec.load.points) * spec.load.repeats + spec.load.compare_base
        loads.append(None if load_s is None else load_s / measurements)
    means = {}
    starts_s = TRAINING_START_S * len(training_runs(adapters))
    for kind, values, once_s in (("fine-tune", training, starts_s), ("load", loads, 0.0)):
        complete = [value for value in values if value is not None]
        if values and len(complete) == len(values):
            means[kind] = (sum(complete) + once_s) / len(complete)
    return means


def predict_finetune_s(
    spec: SweepSpec, model: ModelSpec, profile: HardwareProfile, lengths: Lengths
) -> float | None:
    """Return the seconds of one fine-tune, with its questions, without the start of its run.

    None without the datasheet.

    Args:
        spec: the sweep.
        model: the base model.
        profile: the hardware.
        lengths: of the dataset.
    """
    dtype = choose_dtype(model, profile.accelerator)
    machine = machine_of(profile, dtype)
    if machine is None:
        return None
    how: dict[str, Any] = {"dtype": dtype, "quantization": spec.finetune.quantization}
    recipe = spec.finetune
    tokens = recipe.batch_size * min(lengths.sequence, recipe.max_seq_length)
    steps = recipe.epochs * -(-lengths.pairs // recipe.batch_size)
    decoding = decode_step(
        model, machine, batch=EVALUATION_BATCH, context=lengths.prompt, **how
    ).seconds
    batches = -(-lengths.questions // EVALUATION_BATCH) * (recipe.epochs + 1)
    training_s = steps * lora_step(model, machine, tokens=tokens, **how).seconds
    return training_s + batches * spec.load.max_tokens * decoding


def machine_of(profile: HardwareProfile, dtype: str, gpus: int = 1) -> Machine | None:
    """Return a profile's machine for the roofline; this machine's processor is measured.

    Args:
        profile: the hardware profile.
        dtype: compute dtype.
        gpus: GPUs that compute every layer together.
    """
    if profile.name == HOST and profile.accelerator is None:
        return measured_machine()
    return datasheet_machine(profile, dtype, gpus)


def roofline_columns(
    spec: SweepSpec, cell: Cell, lengths: Lengths, *, longest: int
) -> dict[str, dict[str, Any]]:
    """Return the columns that stand beside a cell's measurements, by name of the load point.

    Args:
        spec: the sweep.
        cell: a cell that was measured on the hardware that it names.
        lengths: of the dataset.
        longest: tokens of the longest request that its engine was started for.
    """
    return {
        each.point.name: {
            "predicted_ttft_s": each.ttft_s,
            "predicted_tpot_s": each.tpot_s,
            "least_ttft_s": each.least_ttft_s,
            "least_tpot_s": each.least_tpot_s,
            "predicted_bound": each.bound,
        }
        for each in predict_cell(spec, cell, lengths, longest=longest).points
    }


def predicted_rows(resolved: Resolved, prediction: CellPrediction) -> list[dict[str, Any]]:
    """Return a prediction as rows of `benchmark.parquet`, with `basis` = predicted."""
    cell = prediction.cell
    columns = priced(cell_columns(resolved, cell), cell.profile)
    columns |= {"basis": "predicted", "variant": "adapter"}
    if cell.refused is not None:
        return [{**columns, "status": "refused", "reason": cell.refused}]
    return [{**columns, **_point_columns(resolved, each)} for each in prediction.points]


def _predict_point(
    spec: SweepSpec,
    cell: Cell,
    machine: Machine,
    lengths: Lengths,
    point: LoadPoint,
    *,
    most: int,
    replicas: int,
) -> PointPrediction:
    how: dict[str, Any] = {
        "dtype": cell.dtype,
        "quantization": spec.serve.quantization,
        "execution": served_by(
            cell.serving.engine,
            gpu=cell.profile.accelerator is not None,
            merged=cell.serving.adapters == "merged",
        ),
    }
    answer = spec.load.max_tokens
    together = min(-(-(point.concurrency or replicas * most) // replicas), most)
    context = lengths.prompt + answer // 2
    prompts = prefill(cell.model, machine, tokens=together * lengths.prompt, **how)
    step = decode_step(cell.model, machine, batch=together, context=context, **how)
    e2e_s = prompts.seconds + (answer - 1) * step.seconds
    capacity = min(replicas, point.concurrency or replicas) * together / e2e_s
    return PointPrediction(
        point=point,
        ttft_s=prompts.seconds,
        tpot_s=step.seconds,
        least_ttft_s=prompts.least_s,
        least_tpot_s=step.least_s,
        e2e_s=e2e_s,
        requests_per_s=min(capacity, point.mean_rate or capacity),
        bound=step.bound,
    )


def _point_columns(resolved: Resolved, prediction: PointPrediction) -> Mapping[str, Any]:
    point = prediction.point
    return {
        "status": "ok",
        "load_point": point.name,
        "concurrency": point.concurrency,
        "rate_rps": point.rate,
        "ttft_mean_s": prediction.ttft_s,
        "tpot_mean_s": prediction.tpot_s,
        "e2e_mean_s": prediction.e2e_s,
        "requests_per_s": prediction.requests_per_s,
        "output_tokens_per_s": prediction.requests_per_s * resolved.spec.load.max_tokens,
    }


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(text.split()) for text in texts) / max(len(texts), 1)
