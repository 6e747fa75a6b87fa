"""The null engine: answers at once without a model, so that the server itself can be measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from medsweep.errors import InputError, UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.serving.protocol import Delta, EngineSettings, Generation

NULL_MODEL = "null"
# No engine takes as long for a token.
_SLOWEST_S = 60.0


def null_model(pace_s: float = 0.0) -> str:
    """Return the name of the null model that makes a token every `pace_s` seconds."""
    return f"{NULL_MODEL}:{pace_s:.6f}" if pace_s else NULL_MODEL


def is_null(model: str) -> bool:
    """Whether a name is that of the null model, at any pace."""
    return model.partition(":")[0] == NULL_MODEL


NULL_SPEC = ModelSpec(
    name=NULL_MODEL,
    hub_id=None,
    revision=None,
    gated=False,
    parameters=0,
    layers=0,
    hidden_size=0,
    kv_heads=0,
    head_dim=0,
    vocab_size=0,
    context_length=0,
    template="",
    lora_targets=(),
    stop_tokens=(),
    licence="none",
    source="standin",
)
"""The model that there is not."""


class NullEngine:
    """Answers every request with `max_tokens` one-word tokens.

    The first comes at once; the others as fast as they can be sent, or at the pace of the name.

    Args:
        settings: not used.
    """

    def __init__(self, settings: EngineSettings | None = None) -> None:
        pass

    def fault(self) -> str | None:
        """Return None: it can always answer."""
        return None

    def details(self) -> dict[str, Any]:
        """Return the settings that the engine runs with."""
        return {}

    async def models(self) -> list[str]:
        """Return the one name it answers to."""
        return [NULL_MODEL]

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield one piece a token."""
        pace_s = _pace_s(request.model)
        start_s = time.perf_counter()
        for number in range(1, request.max_tokens + 1):
            last = number == request.max_tokens
            yield Delta("null ", number, 1, "length" if last else None)
            # Counted from the start, so that late wake-ups do not add up. Without a pace, others
            # are not to wait for this one to end.
            left_s = start_s + number * pace_s - time.perf_counter()
            await asyncio.sleep(max(0.0, left_s) if pace_s and not last else 0.0)

    async def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Refuse: there is no model to adapt."""
        raise InputError(f"the null engine takes no adapter: {name}")

    async def remove_adapter(self, name: str) -> None:
        """Refuse: there is no adapter."""
        raise UnknownName("adapter", name, [])

    async def check(self) -> None:
        """Do nothing: it cannot fail."""

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def _pace_s(model: str) -> float:
    """Return the seconds per token that a name asks for; 0 for as fast as can be."""
    pace = model.partition(":")[2]
    if not is_null(model) or not pace:
        return 0.0
    try:
        pace_s = float(pace)
    except ValueError:
        pace_s = -1.0
    if not 0 <= pace_s <= _SLOWEST_S:
        raise UnknownName("model", model, [NULL_MODEL])
    return pace_s
