import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.clock import Clock
from medsweep.errors import UnknownName
from medsweep.serving.engines import null
from medsweep.serving.engines.null import NullEngine, is_null, null_model
from medsweep.serving.protocol import Generation


async def moments(clock: Clock, model: str, tokens: int, busy_s: float = 0.0) -> list[float]:
    """When each token comes, in seconds from the request, to a client that is busy between them."""
    start_s, at_s = clock.now(), []
    async for _ in NullEngine().stream(Generation(model, None, "Why?", tokens)):
        at_s.append(clock.now() - start_s)
        await asyncio.sleep(busy_s)
    return at_s


@pytest.fixture
def timed(virtually: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[float]]]:
    """The moments of the tokens of some answers at one time, in virtual time."""

    def run(model: str, tokens: int, count: int = 1, **client: float) -> list[list[float]]:
        async def main(clock: Clock) -> list[list[float]]:
            monkeypatch.setattr(null, "time", SimpleNamespace(perf_counter=clock.now))
            answers = (moments(clock, model, tokens, **client) for _ in range(count))
            return await asyncio.gather(*answers)

        answers: list[list[float]] = virtually(main)
        return answers

    return run


@pytest.mark.parametrize("busy_s", [0.0, 0.02])
def test_tokens_come_at_the_pace_of_the_name_and_the_first_at_once(
    timed: Any, busy_s: float
) -> None:
    """What a client does between them does not add up."""
    [at_s] = timed(null_model(0.03), 6, busy_s=busy_s)
    assert at_s == pytest.approx([0.03 * number for number in range(6)], abs=0.001)


def test_paced_answers_do_not_wait_for_each_other(timed: Any) -> None:
    answers = timed(null_model(0.02), 6, count=20)
    assert max(at_s[-1] for at_s in answers) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("model", ["null", "organisation/model:latest", null_model(0.0)])
def test_without_a_pace_tokens_come_as_fast_as_can_be(timed: Any, model: str) -> None:
    [at_s] = timed(model, 50)
    assert at_s[-1] < 0.01


@pytest.mark.parametrize("model", ["null:soon", "null:-1", "null:inf", "null:nan"])
def test_a_pace_that_is_none_is_no_model(timed: Any, model: str) -> None:
    with pytest.raises(UnknownName):
        timed(model, 2)


def test_names_of_the_null_model() -> None:
    assert is_null("null")
    assert is_null(null_model(0.0123))
    assert not is_null("nullable")
    assert not is_null("m:null")
