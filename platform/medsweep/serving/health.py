"""Whether a server can really generate, asked no more often than is useful."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from medsweep.clock import Clock
from medsweep.errors import StageError

FRESH_S = 1.0
"""For so long a token that was generated proves that the next one can be."""

TIMEOUT_S = 30.0
"""So long a busy engine may take for the one token of a check."""


class Health:
    """Asks for one token, unless one came just now; those who ask together share the answer.

    Args:
        check: generates a token; raises if it cannot.
        clock: tells how old the last token is.
    """

    def __init__(self, check: Callable[[], Awaitable[None]], clock: Clock) -> None:
        self._check, self._clock = check, clock
        self._token_s: float | None = None
        self._asking: asyncio.Task[None] | None = None

    def token(self) -> None:
        """Note that a token came."""
        self._token_s = self._clock.now()

    async def check(self) -> None:
        """Return if the engine generates.

        Raises:
            StageError: it does not, or not in time.
        """
        if self._token_s is not None and self._clock.now() - self._token_s < FRESH_S:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._check()
        except TimeoutError:
            raise StageError(f"no token within {TIMEOUT_S:.0f} s") from None
        except Exception as error:  # noqa: BLE001 its text could hold a prompt
            raise StageError(f"no token: {type(error).__name__}") from None
        self.token()
