"""One fine-tune: what is to be done, as plain data, and the function that does it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from medsweep.datasets.split import Split
from medsweep.errors import InputError
from medsweep.finetune.batch_order import Packing
from medsweep.finetune.schedule import Shape
from medsweep.finetune.session import Session
from medsweep.finetune.strategy import StrategyName
from medsweep.models.weights import Weights

NOT_RECIPE = ("weights", "split", "folder", "provenance", "checkpoints", "fresh")

HOW_ALONE = (
    "micro_batch_size",
    "gradient_checkpointing",
    "strategy",
    "workers",
    "checkpoint_steps",
)
"""Part of the recipe that changes how it is computed, not what is learnt."""


@dataclass(frozen=True)
class FineTuneJob:
    """Everything that an adapter depends on.

    Attributes:
        weights: the base model.
        split: what is learnt, and what is asked after each epoch.
        folder: where the adapter shall be.
        rank, alpha, dropout, targets: LoRA, as in `add_lora`.
        epochs: passes over the training side.
        learning_rate: peak of AdamW's rate.
        batch_size: sequences an optimizer step, over all workers.
        max_seq_length: tokens; clamped to the model's context.
        max_tokens: longest answer when the model is asked.
        seed: of initial LoRA weights, dropout and order.
        provenance: what else to record beside the adapter.
        schedule, warmup_share: as in `Schedule`.
        micro_batch_size: rows of one worker's forward pass; None takes as many as fit.
        packing: as in `Layout`.
        quantization: of the base weights while the adapter is trained.
        dtype: to compute in; `auto` goes by the compute capability.
        gradient_checkpointing: compute activations twice instead of keeping them; None where they
            would not fit.
        strategy: of several workers.
        workers: how many `finetune_on` starts; None takes one for each GPU that is there, or one.
        patience, min_delta: as in `on_plateau`.
        checkpoint_steps: optimizer steps between checkpoints, besides one at each epoch's end.
        checkpoints: folder for them, which all workers see; None writes none.
        fresh: whether what was begun before is an error, instead of being resumed.
    """

    weights: Weights
    split: Split
    folder: Path
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    epochs: int
    learning_rate: float
    batch_size: int
    max_seq_length: int
    max_tokens: int
    seed: int
    provenance: Mapping[str, Any]
    schedule: Shape = "linear"
    warmup_share: float = 0.03
    micro_batch_size: int | None = None
    packing: Packing = "bucketed"
    quantization: str = "none"
    dtype: str = "auto"
    gradient_checkpointing: bool | None = None
    strategy: StrategyName = "ddp"
    workers: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    checkpoint_steps: int = 50
    checkpoints: Path | None = None
    fresh: bool = False

    @property
    def width(self) -> int:
        """Tokens that are kept of a sequence: no more than the model's context."""
        return min(self.max_seq_length, self.weights.spec.context_length)

    def require_fresh(self, *runs: Path) -> None:
        """Refuse what was begun before, where a fresh fine-tune was asked for.

        Args:
            runs: where else a trace of it would be.

        Raises:
            InputError: there is its adapter, a checkpoint, or one of the runs.
        """
        if not self.fresh:
            return
        traces = (self.folder, self.checkpoints, *runs)
        found = [str(path) for path in traces if path is not None and path.exists()]
        if found:
            raise InputError(
                f"a fresh fine-tune of {self.weights.spec.name} was asked for, and it was begun "
                f"before: {', '.join(found)}; delete that, change the sweep's seed for a repeat, "
                "or go on from it without asking for a fresh one"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """What was asked for, by field."""
        names = [field.name for field in fields(self) if field.name not in NOT_RECIPE]
        return {name: getattr(self, name) for name in names}

    @property
    def identity(self) -> str:
        """Hash of everything that decides what is learnt."""
        learnt = {name: value for name, value in self.recipe.items() if name not in HOW_ALONE}
        parts = [self.weights.spec.name, self.weights.revision, self.split.sha256, learnt]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def finetune(job: FineTuneJob, on_epoch: Callable[[Mapping[str, Any]], None]) -> None:
    """Fine-tune, asking the held-out questions before the first epoch and after each.

    It needs no Ray. Where torch.distributed knows of other workers, each calls it and they share
    the work. Where there is a checkpoint of the job, it goes on from there.

    Args:
        job: what to do.
        on_epoch: called on every worker with each row of `training.parquet`; the base model's is
            epoch 0. What it raises stops the run.

    Raises:
        StageError: no module for a LoRA target, no room for an answer, no memory, a loss that is
            not a number, or checkpoints that are not this job's.
        InputError: it was to be a fresh one, and was begun before.
    """
    job.require_fresh()
    session = Session(job)
    with session.naming_out_of_memory():
        session.load()
        session.train(on_epoch)
        session.save()
