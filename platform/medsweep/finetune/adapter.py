"""The adapter folder: LoRA weights with the template, the training record and their provenance."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import StageError
from medsweep.models.weights import file_sha256

WEIGHTS_FILE = "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """What the rest of MedSweep needs to know of an adapter.

    Attributes:
        folder: where it is.
        model: name of the base model.
        base: folder of the base model's weights.
        template: name of the prompt template.
        stop_tokens: special tokens that end an answer.
        sha256: hash of the LoRA weights; the identity of the adapter.
    """

    folder: Path
    model: str
    base: Path
    template: str
    stop_tokens: tuple[str, ...]
    sha256: str


def save_adapter(
    folder: Path,
    model: Any,
    *,
    card: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> None:
    """Write an adapter folder; it is renamed into place when it is whole.

    Args:
        folder: where it shall be.
        model: the PEFT model.
        card: model, base, template and stop_tokens, as in `Adapter`.
        epochs: one row an epoch, for `training.parquet`.
        provenance: what it was made from and with.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as making:
        made = Path(making) / "adapter"
        model.save_pretrained(made)
        pq.write_table(
            pa.Table.from_pylist([dict(row) for row in epochs]), made / "training.parquet"
        )
        _write_json(made / "provenance.json", provenance)
        _write_json(made / "adapter.json", {**card, "sha256": file_sha256(made / WEIGHTS_FILE)})
        made.rename(folder)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter folder.

    Raises:
        StageError: the folder is not a whole adapter, or its weights are not those that were saved.
    """
    try:
        card = json.loads((folder / "adapter.json").read_text())
        adapter = Adapter(
            folder=folder,
            model=card["model"],
            base=Path(card["base"]),
            template=card["template"],
            stop_tokens=tuple(card["stop_tokens"]),
            sha256=card["sha256"],
        )
        actual = file_sha256(folder / WEIGHTS_FILE)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StageError(
            f"{folder}: not a whole adapter ({error}); delete the folder and run again"
        ) from None
    if actual != adapter.sha256:
        raise StageError(
            f"{folder / WEIGHTS_FILE}: the weights are not those that were saved "
            f"(sha256 {actual[:12]}, expected {adapter.sha256[:12]}); "
            "delete the folder and run again"
        )
    return adapter


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def epoch_row(
    stats: Any, eval_loss: float, quality: Mapping[str, Any]
) -> dict[str, float | int | None]:
    """Return one row of `training.parquet`: the epoch's statistics, then each quality figure.

    Args:
        stats: an EpochStats.
        eval_loss: nats an answer token on the evaluation side.
        quality: summary by figure.
    """
    row: dict[str, float | int | None] = {**asdict(stats), "eval_loss": eval_loss}
    for name, summary in quality.items():
        row |= {name: summary.mean, f"{name}_low": summary.low, f"{name}_high": summary.high}
    return row
