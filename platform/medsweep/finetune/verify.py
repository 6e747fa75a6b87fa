"""Check an adapter: its files, its base model, and that both make a model that computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medsweep.errors import MedSweepError, StageError
from medsweep.finetune.adapted import (
    device_with_room,
    find_base,
    load_adapted,
    open_adapter,
)
from medsweep.finetune.adapter import read_adapter


@dataclass(frozen=True)
class AdapterCheck:
    """One check of an adapter.

    Attributes:
        name: what was checked.
        problem: what is wrong; None if nothing is.
    """

    name: str
    problem: str | None


def verify(folder: Path, base: Path | None = None) -> list[AdapterCheck]:
    """Check an adapter that may come from anyone; after the first check that fails, stop.

    Args:
        folder: of the adapter.
        base: folder of its base model; None looks where it was, then in the catalogue.
    """
    steps: list[tuple[str, Callable[[], object]]] = [
        ("files are those that were saved", lambda: open_adapter(folder)),
        ("base model is the one it was trained on", lambda: find_base(read_adapter(folder), base)),
        ("loads with PEFT and computes", lambda: _compute(folder, base)),
    ]
    checks: list[AdapterCheck] = []
    for name, act in steps:
        checks.append(AdapterCheck(name, _problem(folder, act)))
        if checks[-1].problem is not None:
            break
    return checks


def _problem(folder: Path, act: Callable[[], object]) -> str | None:
    try:
        act()
    except MedSweepError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 a stranger's files make libraries raise anything
        return f"{folder}: {type(error).__name__}: {' '.join(str(error).split())[:500]}"
    return None


def _compute(folder: Path, base: Path | None) -> None:
    """Load base and adapter, and compute one step on a prompt.

    Raises:
        StageError: they do not fit, or the result is not finite.
    """
    import torch

    adapter = open_adapter(folder)
    base = find_base(adapter, base)
    model, tokenizer = load_adapted(adapter, base, device=device_with_room(base))
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is asthma?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        logits = model(input_ids=inputs["input_ids"].to(model.device)).logits
    if not torch.isfinite(logits).all():
        raise StageError(f"{folder}: its logits are not finite")
