"""Write an adapter folder that PEFT and transformers load without MedSweep."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsweep.finetune.adapter import (
    CARD_FILE,
    CONFIG_FILE,
    PROVENANCE_FILE,
    TRAINING_FILE,
    WEIGHTS_FILE,
    base_sha256,
)
from medsweep.finetune.model_card import model_card
from medsweep.models.cache import file_sha256
from medsweep.models.templates import TEMPLATES

TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
)
"""Files that a tokenizer of transformers may consist of, besides its configuration."""


def save_adapter(
    folder: Path,
    model: Any,
    *,
    card: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> None:
    """Write an adapter folder; it is renamed into place once it is complete.

    Beside the LoRA weights it holds the tokenizer with the prompt template as its chat template,
    and the stop tokens as `generation_config.json`.

    Args:
        folder: where the adapter will be.
        model: the PEFT model.
        card: model, base, template and stop_tokens, as in `Adapter`.
        epochs: one row per epoch, for `training.parquet`.
        provenance: what it was made from and with.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    base = Path(card["base"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as scratch:
        made = Path(scratch) / "adapter"
        model.save_pretrained(made)
        _name_base(made / CONFIG_FILE, provenance)
        _save_tokenizer(base, made, template=card["template"], stop_tokens=card["stop_tokens"])
        pq.write_table(pa.Table.from_pylist([dict(row) for row in epochs]), made / TRAINING_FILE)
        hashes = {
            "code_sha256": code_sha256(),
            "recipe_sha256": json_sha256(provenance.get("recipe", {})),
        }
        record = {**provenance, **hashes}
        _write_json(made / PROVENANCE_FILE, record)
        (made / "README.md").write_text(model_card(card, epochs, record), encoding="utf-8")
        complete = {
            **card,
            "base_sha256": base_sha256(base),
            "sha256": file_sha256(made / WEIGHTS_FILE),
            "files": {path.name: file_sha256(path) for path in made.iterdir()},
        }
        _write_json(made / CARD_FILE, complete)
        made.rename(folder)


def code_sha256() -> str:
    """Return the hash of the package's Python files, in the order of their names."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def json_sha256(value: Mapping[str, Any]) -> str:
    """Return the hash of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _save_tokenizer(base: Path, folder: Path, *, template: str, stop_tokens: Sequence[str]) -> None:
    """Copy the base's tokenizer, with the adapter's template and stop tokens."""
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    config = base / "tokenizer_config.json"
    if config.is_file():
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings.pop("chat_template", None)  # another one than the adapter was trained with
        (folder / config.name).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATES[template].jinja, encoding="utf-8")
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        ids = [tokenizer.token_to_id(token) for token in stop_tokens]
        generation = {"eos_token_id": [number for number in ids if number is not None]}
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")


def _name_base(config: Path, provenance: Mapping[str, Any]) -> None:
    """Let PEFT's own configuration name the base on the hub, where the weights came from there."""
    model = provenance.get("model", {})
    if model.get("hub_id") and provenance.get("revision") == model["revision"]:
        content = json.loads(config.read_text())
        content |= {"base_model_name_or_path": model["hub_id"], "revision": model["revision"]}
        _write_json(config, content)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
