"""How the tokens of an answer become events: in virtual time, so that each has its own moment."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from medsweep.clock import Clock
from medsweep.errors import StageError
from medsweep.serving.engines.request_state import (
    LONGEST_GATHER_S,
    SHORTEST_GATHER_S,
    RequestState,
)
from medsweep.serving.protocol import Delta, Generation

GAP_S = 0.0031
TOKENS = 20
STOP = 99


class Letters:
    """Gives each token a letter (fake)."""

    tokens, stopped = 0, False

    def push(self, token: int, last: bool) -> str:
        """Return the token's letter."""
        self.tokens += 1
        return chr(ord("a") + token)


def state(**fields: Any) -> RequestState:
    request = Generation("m", None, "?", **{"max_tokens": TOKENS, **fields})
    text: Any = Letters()
    return RequestState(request, [1], frozenset({STOP}), None, text, asyncio.get_running_loop())


@pytest.fixture
def pieces_of(virtually: Callable[..., Any]) -> Callable[[float], list[tuple[float, Delta]]]:
    """Take an answer, of which a token comes every 3.1 ms, with a gather time; with its moments."""

    def take_all(gather_s: float) -> list[tuple[float, Delta]]:
        async def main(clock: Clock) -> list[tuple[float, Delta]]:
            answer, pieces = state(), []
            answer.begin(1)
            for place in range(TOKENS):
                asyncio.get_running_loop().call_later(GAP_S * (place + 1), answer.push, place)
            while not pieces or pieces[-1][1].finish_reason is None:
                delta = await answer.take(gather_s)
                pieces.append((clock.now(), delta))
            return pieces

        pieces: list[tuple[float, Delta]] = virtually(main)
        return pieces

    return take_all


@pytest.mark.parametrize("gather_s", [0.0, SHORTEST_GATHER_S])
def test_a_client_that_takes_at_once_gets_every_token(pieces_of: Any, gather_s: float) -> None:
    pieces = pieces_of(gather_s)
    assert [delta.token_ids for _, delta in pieces] == [(place,) for place in range(TOKENS)]
    assert [at_s for at_s, _ in pieces] == pytest.approx(
        [GAP_S * (place + 1) for place in range(TOKENS)], abs=0.001
    )


@pytest.mark.parametrize("gather_s", [0.01, LONGEST_GATHER_S, 5.0])
def test_tokens_that_come_while_they_are_gathered_are_one_piece(
    pieces_of: Any, gather_s: float
) -> None:
    pieces = pieces_of(gather_s)
    assert [token for _, delta in pieces for token in delta.token_ids] == list(range(TOKENS))
    assert "".join(delta.text for _, delta in pieces) == "abcdefghijklmnopqrst"
    assert [delta.start is not None for _, delta in pieces] == [True] + [False] * (len(pieces) - 1)
    # Nobody waits longer than the longest, and the end of an answer is not waited for.
    waits_s = [after - before for before, after in pairwise(at_s for at_s, _ in pieces)]
    expected_s = min(gather_s, LONGEST_GATHER_S)
    assert waits_s[:-1] == pytest.approx([expected_s] * len(waits_s[:-1]), abs=0.001)
    assert waits_s[-1] < expected_s
    assert pieces[-1][0] == pytest.approx(GAP_S * TOKENS, abs=0.001)


def test_an_error_ends_the_gathering(virtually: Callable[..., Any]) -> None:
    async def main(clock: Clock) -> None:
        answer = state()
        asyncio.get_running_loop().call_later(0.005, answer.fail, StageError("it died"))
        with pytest.raises(StageError, match="it died"):
            await answer.take(LONGEST_GATHER_S)
        assert clock.now() == pytest.approx(0.005, abs=0.001)
        assert answer.done

    virtually(main)
