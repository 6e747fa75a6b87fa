import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from medsweep.clock import FakeClock
from medsweep.errors import StageError
from medsweep.serving import health as module
from medsweep.serving.health import FRESH_S, Health

SECRET = "patient-7731-has-gout"


class Checked:
    """A check that can be held up and can fail."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> None:
        self.times += 1
        await self.go_on.wait()
        if self.error is not None:
            raise self.error


async def test_a_token_proves_health_for_a_second() -> None:
    clock, checked = FakeClock(), Checked()
    health = Health(checked, clock)
    for _ in range(3):
        await health.check()
    assert checked.times == 1
    clock.advance(FRESH_S)
    await health.check()
    assert checked.times == 2
    clock.advance(FRESH_S)
    health.token()
    await health.check()
    assert checked.times == 2


async def test_behind_ray_a_token_proves_nothing_for_the_replica_knows_better() -> None:
    clock, checked = FakeClock(), Checked()
    health = Health(checked, clock, fresh_s=0.0)
    health.token()
    await health.check()
    checked.error = StageError("the engine died")
    with pytest.raises(StageError):
        await health.check()
    health.token()  # of an answer that was on its way
    with pytest.raises(StageError):
        await health.check()
    assert checked.times == 3


async def test_those_who_ask_together_share_one_token() -> None:
    checked = Checked()
    checked.go_on.clear()
    health = Health(checked, FakeClock())
    asking = [asyncio.create_task(health.check()) for _ in range(9)]
    await asyncio.sleep(0)
    asking[0].cancel()  # its client has gone; the others still want to know
    await asyncio.sleep(0)
    checked.go_on.set()
    await asyncio.gather(*asking[1:])
    assert checked.times == 1


async def test_a_failure_is_not_kept_and_its_text_not_told() -> None:
    checked = Checked()
    checked.error = RuntimeError(SECRET)
    health = Health(checked, FakeClock())
    for _ in range(2):
        with pytest.raises(StageError, match="^no token: RuntimeError$"):
            await health.check()
    checked.error = None
    await health.check()
    assert checked.times == 3


async def test_an_engine_that_hangs_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    checked = Checked()
    checked.go_on.clear()
    with pytest.raises(StageError, match="no token within 0 s"):
        await Health(checked, FakeClock()).check()


async def test_the_route(serve_app: Callable[..., Any], scripted: Any) -> None:
    transport = httpx.ASGITransport(serve_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        scripted.healthy = False
        failing = await client.get("/health")
        scripted.healthy = True
        healthy = [await client.get("/health") for _ in range(3)]
    assert failing.status_code == 503
    assert failing.json()["error"]["message"] == "no token: RuntimeError"
    assert [answer.status_code for answer in healthy] == [200] * 3
    assert scripted.checks == 2


async def test_a_known_fault_outweighs_a_fresh_token() -> None:
    checked, faults = Checked(), [None, "the engine is starting"]
    health = Health(checked, FakeClock(), lambda: faults.pop(0))
    health.token()
    await health.check()
    with pytest.raises(StageError, match="^the engine is starting$"):
        await health.check()
    assert checked.times == 0


async def test_after_a_failure_earlier_tokens_prove_nothing() -> None:
    checked = Checked()
    health = Health(checked, FakeClock())
    health.token()
    health.failed()
    await health.check()
    assert checked.times == 1
