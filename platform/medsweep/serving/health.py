"""The health check: whether the engine generates tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from medsweep.clock import Clock
from medsweep.errors import StageError

FRESH_S = 1.0
"""A token no older than this counts as proof that the engine generates."""

TIMEOUT_S = 30.0
"""Longest time that a busy engine may take for the one token of a check."""


class Health:
    """Generates one token, unless one was generated just before; concurrent checks share it.

    Args:
        check: generates a token; raises an exception if that fails.
        clock: measures the age of the last token.
        fault: returns why the engine cannot answer now, or None; it outweighs a fresh token.
        fresh_s: how long a token counts as proof, in seconds; 0 where `check` asks another process,
            which knows its engine's end before this one does.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[None]],
        clock: Clock,
        fault: Callable[[], str | None] = lambda: None,
        *,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._fresh_s = fresh_s
        self._check, self._clock, self._fault = check, clock, fault
        self._token_s: float | None = None
        self._checking: asyncio.Task[None] | None = None

    def token(self) -> None:
        """Record that a token was generated."""
        self._token_s = self._clock.now()

    def failed(self) -> None:
        """Record that the engine ended: earlier tokens prove nothing now."""
        self._token_s = None

    async def check(self) -> None:
        """Return if the engine generates.

        Raises:
            StageError: the engine does not generate, or not within TIMEOUT_S.
        """
        fault = self._fault()
        if fault is not None:
            raise StageError(fault)
        if self._token_s is not None and self._clock.now() - self._token_s < self._fresh_s:
            return
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._generate())
        await asyncio.shield(self._checking)

    async def _generate(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._check()
        except TimeoutError:
            raise StageError(f"no token within {TIMEOUT_S:.0f} s") from None
        except Exception as error:  # noqa: BLE001 its text could hold a prompt
            raise StageError(f"no token: {type(error).__name__}") from None
        self.token()
