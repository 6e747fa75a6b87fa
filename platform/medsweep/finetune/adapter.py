"""The adapter folder: LoRA weights with all that is needed to use them, and their provenance."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import StageError
from medsweep.finetune.hashes import base_sha256, code_sha256, files_sha256, json_sha256
from medsweep.finetune.model_card import model_card
from medsweep.finetune.tokenizer import save_tokenizer
from medsweep.models.weights import file_sha256

WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "adapter.json"
"""Written last: a folder with it is whole."""


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

    Anybody can load it with PEFT and transformers alone: beside the LoRA weights it holds the
    tokenizer with the prompt template as its chat template, and the stop tokens as
    `generation_config.json`.

    Args:
        folder: where it shall be.
        model: the PEFT model.
        card: model, base, template and stop_tokens, as in `Adapter`.
        epochs: one row an epoch, for `training.parquet`.
        provenance: what it was made from and with.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    base = Path(card["base"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as making:
        made = Path(making) / "adapter"
        model.save_pretrained(made)
        _name_base(made / "adapter_config.json", provenance)
        save_tokenizer(base, made, template=card["template"], stop_tokens=card["stop_tokens"])
        pq.write_table(
            pa.Table.from_pylist([dict(row) for row in epochs]), made / "training.parquet"
        )
        hashes = {
            "code_sha256": code_sha256(),
            "recipe_sha256": json_sha256(provenance.get("recipe", {})),
        }
        record = {**provenance, **hashes}
        _write_json(made / "provenance.json", record)
        (made / "README.md").write_text(model_card(card, epochs, record), encoding="utf-8")
        whole = {
            **card,
            "base_sha256": base_sha256(base),
            "sha256": file_sha256(made / WEIGHTS_FILE),
            "files": files_sha256(made),
        }
        _write_json(made / CARD_FILE, whole)
        made.rename(folder)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter folder.

    Raises:
        StageError: the folder is not a whole adapter, its weights are not those that were saved, or
            where its base model was there is another one.
    """
    if not (folder / CARD_FILE).is_file():
        raise StageError(
            f"{folder}: not a whole adapter (no {CARD_FILE}); `medsweep adapters list FOLDER` "
            "finds those below a folder"
        )
    try:
        card = json.loads((folder / CARD_FILE).read_text())
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
    if adapter.base.is_dir():
        check_base(adapter, adapter.base)
    return adapter


def check_base(adapter: Adapter, base: Path) -> None:
    """Check that a folder holds the base model that an adapter was trained on.

    Raises:
        StageError: it holds another model, or none.
    """
    card = json.loads((adapter.folder / CARD_FILE).read_text())
    expected, found = card.get("base_sha256"), base_sha256(base)
    if expected is not None and found != expected:
        what = f"another one ({found[:12]})" if found else "none"
        raise StageError(
            f"{adapter.folder}: the adapter was trained on {adapter.model} ({expected[:12]}), and "
            f"in {base} there is {what}; on other weights its answers mean nothing"
        )


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return what an adapter was made from and with.

    Raises:
        StageError: there is no whole `provenance.json`.
    """
    try:
        found: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    except (OSError, ValueError) as error:
        raise StageError(f"{folder}: not a whole adapter ({error})") from None
    return found


def _name_base(config: Path, provenance: Mapping[str, Any]) -> None:
    """Let PEFT's own configuration name the base on the hub, where the weights came from there."""
    model = provenance.get("model", {})
    if model.get("hub_id") and provenance.get("revision") == model["revision"]:
        content = json.loads(config.read_text())
        content |= {"base_model_name_or_path": model["hub_id"], "revision": model["revision"]}
        _write_json(config, content)


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
