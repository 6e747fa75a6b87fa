"""Check an adapter: its files, its base model, and that both make a model that computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medsweep.errors import MedSweepError, StageError
from medsweep.finetune.adapter import CARD_FILE, Adapter, read_adapter
from medsweep.finetune.hashes import files_sha256
from medsweep.finetune.merge import find_base


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what.
        problem: what is wrong; None where it is right.
    """

    name: str
    problem: str | None


def verify(folder: Path, base: Path | None = None) -> list[Check]:
    """Check an adapter; what needs an earlier check to be right is left out after one that is not.

    Args:
        folder: of the adapter.
        base: folder of its base model; None looks where it was, then on the hub.
    """
    checks: list[Check] = []
    found: dict[str, Path] = {}

    def step(name: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except MedSweepError as error:
            checks.append(Check(name, str(error)))
            return False
        checks.append(Check(name, None))
        return True

    def locate() -> None:
        found["base"] = find_base(read_adapter(folder), base)

    whole = step("files are those that were saved", lambda: _check_files(folder))
    if whole and step("base model is the one it was trained on", locate):
        step("loads with PEFT and computes", lambda: _load(read_adapter(folder), found["base"]))
    return checks


def _check_files(folder: Path) -> None:
    read_adapter(folder)
    expected = json.loads((folder / CARD_FILE).read_text()).get("files", {})
    actual = files_sha256(folder)
    changed = sorted(name for name, digest in expected.items() if actual.get(name) != digest)
    if changed:
        raise StageError(f"{folder}: changed or missing: {', '.join(changed)}")


def _load(adapter: Adapter, base: Path) -> None:
    """Load base and adapter, and compute one step on a prompt.

    Raises:
        StageError: they do not fit, or what they compute is not a number.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        model = PeftModel.from_pretrained(model, adapter.folder)
        tokenizer = AutoTokenizer.from_pretrained(adapter.folder)
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": "What is asthma?"}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            logits = model(input_ids=inputs["input_ids"]).logits
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise StageError(f"{adapter.folder}: {' '.join(str(error).split())[:500]}") from None
    if not torch.isfinite(logits).all():
        raise StageError(f"{adapter.folder}: what it computes is not a number")
