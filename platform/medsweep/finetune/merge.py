"""Merge an adapter into its base: a folder of plain transformers, without PEFT."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from medsweep.errors import InputError
from medsweep.finetune.adapted import load_adapted
from medsweep.finetune.adapter import Adapter
from medsweep.finetune.adapter_copy import verified_copy

CARRIED = ("chat_template.jinja", "generation_config.json", "provenance.json", "README.md")


def merge(adapter: Adapter, base: Path, out: Path) -> None:
    """Write base and adapter as one model in the base's dtype; renamed into place when complete.

    Args:
        adapter: as from `open_adapter`.
        base: folder of its base model.
        out: where the merged model will be.

    Raises:
        InputError: `out` exists.
    """
    if out.exists():
        raise InputError(f"{out}: already exists; give another folder")
    model, tokenizer = load_adapted(adapter, base)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="making-") as scratch:
        made = Path(scratch) / "model"
        model.merge_and_unload().save_pretrained(made)
        tokenizer.save_pretrained(made)
        with verified_copy(adapter, [name for name in CARRIED if name in adapter.files]) as folder:
            for path in folder.iterdir():
                shutil.copyfile(path, made / path.name)
        made.rename(out)
