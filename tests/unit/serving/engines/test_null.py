import asyncio
import time

import pytest

from medsweep.errors import UnknownName
from medsweep.serving.engines.null import NullEngine, is_null, null_model
from medsweep.serving.protocol import Generation


async def moments(model: str, tokens: int) -> list[float]:
    """When each token comes, in seconds from the request."""
    start_s = time.perf_counter()
    request = Generation(model, None, "Why?", tokens)
    return [time.perf_counter() - start_s async for _ in NullEngine().stream(request)]


async def test_tokens_come_at_the_pace_of_the_name_and_the_first_at_once() -> None:
    at_s = await moments(null_model(0.03), 6)
    assert len(at_s) == 6
    assert at_s[0] < 0.02
    for number, each_s in enumerate(at_s):
        # Late wake-ups do not add up.
        assert 0.03 * number - 0.002 < each_s < 0.03 * number + 0.06


async def test_paced_answers_do_not_wait_for_each_other() -> None:
    start_s = time.perf_counter()
    await asyncio.gather(*(moments(null_model(0.02), 6) for _ in range(20)))
    assert time.perf_counter() - start_s < 1.0  # one after the other they take 2 s


@pytest.mark.parametrize("model", ["null", "organisation/model:latest", null_model(0.0)])
async def test_without_a_pace_tokens_come_as_fast_as_can_be(model: str) -> None:
    assert (await moments(model, 50))[-1] < 0.5


@pytest.mark.parametrize("model", ["null:soon", "null:-1", "null:inf", "null:nan"])
async def test_a_pace_that_is_none_is_no_model(model: str) -> None:
    with pytest.raises(UnknownName):
        await moments(model, 2)


def test_names_of_the_null_model() -> None:
    assert is_null("null")
    assert is_null(null_model(0.0123))
    assert not is_null("nullable")
    assert not is_null("m:null")
