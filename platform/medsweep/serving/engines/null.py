"""The null engine: answers at once without a model, so that the server itself can be measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from medsweep.errors import InputError, UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.serving.protocol import Delta, EngineSettings, Generation

NULL_MODEL = "null"


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
    """Answers every request with `max_tokens` one-word tokens, as fast as they can be sent.

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
        for number in range(1, request.max_tokens + 1):
            last = number == request.max_tokens
            yield Delta("null ", number, 1, "length" if last else None)
            await asyncio.sleep(0)  # other requests are not to wait for this one to end

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
