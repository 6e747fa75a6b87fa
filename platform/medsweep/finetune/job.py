"""One fine-tune as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.datasets.split import Split
from medsweep.errors import InputError
from medsweep.finetune.recipe import NOT_LEARNT, Recipe
from medsweep.models.weights import Weights


@dataclass(frozen=True)
class FineTuneJob:
    """One fine-tune: everything that its adapter depends on, and where it goes.

    Attributes:
        recipe: the hyper-parameters.
        weights: the base model.
        split: the training side, and the questions asked after each epoch.
        folder: where the adapter will be.
        max_tokens: longest answer to an evaluation question, in tokens.
        seed: of the initial LoRA weights, dropout and data order.
        provenance: what else to record beside the adapter.
        checkpoints: folder for checkpoints, which all workers see; None writes none.
        fresh: whether an earlier start of the same fine-tune is a fault instead of being resumed.
        asks: whether the held-out questions are asked; their answers' loss is always computed.
    """

    recipe: Recipe
    weights: Weights
    split: Split
    folder: Path
    max_tokens: int
    seed: int
    provenance: Mapping[str, Any]
    checkpoints: Path | None = None
    fresh: bool = False
    asks: bool = True

    @property
    def width(self) -> int:
        """Tokens of a sequence that are kept."""
        return self.recipe.width(self.weights.spec)

    def require_fresh(self, *runs: Path) -> None:
        """Refuse to continue an earlier start, if a fresh fine-tune is required.

        Args:
            runs: other places that an earlier start would have left something in.

        Raises:
            InputError: its adapter, a checkpoint or one of the runs exists.
        """
        if not self.fresh:
            return
        traces = (self.folder, self.checkpoints, *runs)
        earlier = [str(path) for path in traces if path is not None and path.exists()]
        if earlier:
            raise InputError(
                f"a fresh fine-tune of {self.weights.spec.name} was requested, but an earlier one "
                f"exists: {', '.join(earlier)}; delete it, change the sweep's seed for a repeat, "
                "or continue it without --fresh"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The recipe with the model's own targets, the longest answer and the seed."""
        return {
            **self.recipe.model_dump(),
            "targets": self.recipe.modules(self.weights.spec),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }

    @property
    def identity(self) -> str:
        """Hash of everything that decides what is learnt."""
        learnt = {name: each for name, each in self.parameters.items() if name not in NOT_LEARNT}
        parts = [self.weights.spec.name, self.weights.revision, self.split.sha256, learnt]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
