import asyncio

import pytest
from pydantic import ValidationError

from medsweep.clock import FakeClock
from medsweep.serving.admission import Admission, Limits
from medsweep.serving.api_errors import Refused
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics


def make_admission(
    clock: FakeClock | None = None, **limits: int
) -> tuple[Admission, PrometheusSink]:
    sink = PrometheusSink()
    return Admission(Limits(**limits), clock or FakeClock(), ServerMetrics([sink])), sink


async def hold(admission: Admission, order: list[int], number: int, leave: asyncio.Event) -> None:
    async with admission.place():
        order.append(number)
        await leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_run_so_many_wait_and_one_more_is_refused() -> None:
    admission, sink = make_admission(max_concurrent=2, max_queued=1)
    order: list[int] = []
    leave = asyncio.Event()
    tasks = [asyncio.create_task(hold(admission, order, number, leave)) for number in range(3)]
    await settle()
    assert (admission.running, admission.queued, order) == (2, 1, [0, 1])
    assert b"medsweep_server_running 2.0" in sink.text()
    assert b"medsweep_server_queued 1.0" in sink.text()
    with pytest.raises(Refused, match="2 requests are running and 1 wait") as refused:
        async with admission.place():
            pass
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})
    leave.set()
    await asyncio.gather(*tasks)
    assert (admission.running, admission.queued, order) == (0, 0, [0, 1, 2])
    assert b"medsweep_server_running 0.0" in sink.text()


async def test_first_come_first_served_and_those_who_left_are_passed_over() -> None:
    admission, _ = make_admission(max_concurrent=1, max_queued=9)
    order: list[int] = []
    leaves = [asyncio.Event() for _ in range(5)]
    tasks = [
        asyncio.create_task(hold(admission, order, n, leave)) for n, leave in enumerate(leaves)
    ]
    await settle()
    tasks[2].cancel()
    await settle()
    assert admission.queued == 3
    for leave in leaves:
        leave.set()
        await settle()
    assert order == [0, 1, 3, 4]
    assert (admission.running, admission.queued) == (0, 0)


async def test_a_place_that_was_given_to_a_request_just_cancelled_goes_to_the_next() -> None:
    admission, _ = make_admission(max_concurrent=1, max_queued=9)
    order: list[int] = []
    leave = asyncio.Event()
    tasks = [asyncio.create_task(hold(admission, order, number, leave)) for number in range(3)]
    await settle()
    leave.set()
    await asyncio.sleep(0)  # the first has left and given its place to the second
    tasks[1].cancel()
    await settle()
    assert order == [0, 2]
    assert (admission.running, admission.queued) == (0, 0)


async def test_a_failing_request_frees_its_place() -> None:
    admission, _ = make_admission(max_concurrent=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with admission.place():
                raise ZeroDivisionError
    assert admission.running == 0


async def test_retry_after_follows_how_long_requests_take() -> None:
    clock = FakeClock()
    admission, _ = make_admission(clock, max_concurrent=1, max_queued=0)
    seconds = []
    for length_s in (40.0, 40.0, 40.0, 1000.0):
        async with admission.place():
            with pytest.raises(Refused) as refused:
                async with admission.place():
                    pass
            seconds.append(int(refused.value.headers["retry-after"]))
            clock.advance(length_s)
    assert seconds == [1, 5, 9, 12]
    async with admission.place():
        with pytest.raises(Refused) as refused:
            async with admission.place():
                pass
    assert refused.value.headers == {"retry-after": "60"}


@pytest.mark.parametrize(
    "limits",
    [{"max_concurrent": 0}, {"max_queued": -1}, {"timeout_s": 0.0}, {"max_body_bytes": -5}],
)
def test_negative_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(limits))):
        Limits.model_validate(limits)
