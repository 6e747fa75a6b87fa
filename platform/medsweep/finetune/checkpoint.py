"""Checkpoints, from which an interrupted run is resumed.

One format for every strategy and any number of workers:

    step-00000120/
      tensors.safetensors   the adapter's weights and the optimizer's moments, unsharded
      state.json            position of the run, and its rows of `training.parquet` so far
      manifest.json         hashes of both, and of the job that they belong to

Random numbers, data order and learning rate follow from the step, so they are not stored.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.errors import StageError
from medsweep.finetune.loop import Position
from medsweep.models.cache import file_sha256

if TYPE_CHECKING:
    import torch

KEPT = 2
"""Checkpoints kept on disk: if the newest is corrupt, the one before it is used."""

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step.

    Attributes:
        position: of the run.
        rows: of `training.parquet`, so far.
        tensors: the strategy's state: weights by `weight.<parameter>`, moments, and counts.
    """

    position: Position
    rows: tuple[Mapping[str, Any], ...] = ()
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one job.

    Attributes:
        folder: holds the checkpoints.
        job: identity of the job.
    """

    folder: Path
    job: str

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and remove all but the newest two.

        It is written to another folder, flushed to the disk and renamed, so it is never partial.
        """
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"step-{checkpoint.position.step:08d}"
        making = self.folder / f".making-{final.name}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        tensors = {name: one.contiguous().cpu() for name, one in checkpoint.tensors.items()}
        save_file(tensors, making / TENSORS)
        state = {"position": asdict(checkpoint.position), "rows": checkpoint.rows}
        (making / STATE).write_text(json.dumps(state))
        hashes = {name: file_sha256(making / name) for name in (TENSORS, STATE)}
        (making / MANIFEST).write_text(json.dumps({"job": self.job, "sha256": hashes}))
        for path in (*making.iterdir(), making):
            _flush(path)
        shutil.rmtree(final, ignore_errors=True)
        making.rename(final)
        _flush(self.folder)
        for old in self._steps()[KEPT:]:
            shutil.rmtree(old)

    def read(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest intact checkpoint, and one message per corrupt one.

        Raises:
            StageError: the checkpoints belong to another job.
        """
        messages: list[str] = []
        for path in self._steps():
            try:
                return self._read_one(path), messages
            except _Corrupt as fault:
                messages.append(f"checkpoint {path} is corrupt ({fault}): using the one before it")
        if messages:
            messages.append("no intact checkpoint is left: starting at the first step")
        return None, messages

    def remove(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[Path]:
        """Return the checkpoints' folders, newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    def _read_one(self, path: Path) -> Checkpoint:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            manifest = json.loads((path / MANIFEST).read_text())
            job, hashes = manifest["job"], manifest["sha256"]
            for name in (TENSORS, STATE):
                if file_sha256(path / name) != hashes[name]:
                    raise _Corrupt(f"{name} is not what was written")
            state = json.loads((path / STATE).read_text())
            checkpoint = Checkpoint(
                Position(**state["position"]), tuple(state["rows"]), load_file(path / TENSORS)
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise _Corrupt(f"{type(error).__name__}: {error}") from None
        if job != self.job:
            raise StageError(
                f"{self.folder}: the checkpoints are of another fine-tune (job {job[:12]}, this is "
                f"{self.job[:12]}); give another folder, or delete this one"
            )
        return checkpoint


class _Corrupt(Exception):
    """A checkpoint is damaged."""


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
