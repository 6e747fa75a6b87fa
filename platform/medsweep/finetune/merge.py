"""Merge an adapter into its base: a folder of plain transformers, without PEFT."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter, check_base, read_provenance
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import Weights, materialise

CARRIED = ("chat_template.jinja", "generation_config.json", "provenance.json", "README.md")


def find_base(adapter: Adapter, given: Path | None) -> Path:
    """Return the folder of an adapter's base model.

    Args:
        adapter: the adapter.
        given: where the user says that it is; None looks where it was, then on the hub.

    Raises:
        StageError: it is another model, or it is not to be found.
        EnvironmentFault: it cannot be had from the hub.
    """
    base = given or adapter.base
    if not base.is_dir() and given is None:
        record = read_provenance(adapter.folder)
        spec = ModelSpec(**record["model"])
        if spec.hub_id is None or record["revision"] != spec.revision:
            raise StageError(
                f"{adapter.folder}: its base model {adapter.model} is not in {base} any more; put "
                "it back (`medsweep adapters` takes another folder as --base)"
            )
        base = materialise(Weights(spec, record["revision"]))
    check_base(adapter, base)
    return base


def merge(adapter: Adapter, base: Path, out: Path) -> None:
    """Write base and adapter as one model, in the base's dtype; whole or not at all.

    Args:
        adapter: the adapter.
        base: folder of its base model.
        out: where the merged model shall be.

    Raises:
        InputError: there is something at `out` already.
    """
    if out.exists():
        raise InputError(f"{out}: there is something here already; give another folder")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype="auto"), adapter.folder
    ).merge_and_unload()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="making-") as making:
        made = Path(making) / "model"
        model.save_pretrained(made)
        AutoTokenizer.from_pretrained(adapter.folder).save_pretrained(made)
        for name in CARRIED:
            if (adapter.folder / name).is_file():
                shutil.copyfile(adapter.folder / name, made / name)
        made.rename(out)
