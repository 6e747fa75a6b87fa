import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from medsweep.clock import Clock
from medsweep.serving.protocol import Delta, Generation


async def scrape(app: Any) -> str:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.get("/metrics")).text


def counted(text: str, model: str, outcome: str) -> str:
    label = f'medsweep_server_requests_total{{model="{model}",outcome="{outcome}"}}'
    return next((line.split()[-1] for line in text.splitlines() if line.startswith(label)), "0")


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def test_one_more_than_may_wait_is_429(serve_app: Any, chat_call: Any, scripted: Any) -> None:
    app = serve_app(max_concurrent=1, max_queued=1)
    running = chat_call(app, "waits")
    await until(lambda: scripted.running == 1)
    waiting = chat_call(app, "good")
    await asyncio.sleep(0)
    refused = chat_call(app, "good")
    await refused.task
    assert refused.status == 429
    assert refused.headers[b"retry-after"] == b"2"
    assert json.loads(refused.text)["error"]["type"] == "rate_limit_error"
    assert [asked.model for asked in scripted.asked] == ["waits"]
    scripted.go_on.set()
    await asyncio.gather(running.task, waiting.task)
    assert (running.status, waiting.status) == (200, 200)
    text = await scrape(app)
    assert (counted(text, "", "queue_full"), counted(text, "good", "ok")) == ("1.0", "1.0")


@pytest.mark.parametrize("stream", [False, True])
def test_time_is_up_before_the_first_text(
    virtually: Any, serve_app: Any, chat_call: Any, scripted: Any, stream: bool
) -> None:
    async def main(_: Clock) -> None:
        app = serve_app(timeout_s=0.05, max_concurrent=1)
        late, queued = (chat_call(app, "waits", stream=stream) for _ in range(2))
        await asyncio.gather(late.task, queued.task)
        assert (late.status, queued.status) == (408, 408)
        assert json.loads(late.text)["error"]["message"] == "not answered within 0.05 s"
        assert scripted.running == 0  # the engine has stopped
        next_one = chat_call(app, "good")
        await next_one.task
        assert next_one.status == 200
        assert counted(await scrape(app), "", "timeout") == "2.0"

    virtually(main)


def test_time_is_up_in_the_middle_of_a_stream(
    virtually: Any, serve_app: Any, chat_call: Any, scripted: Any
) -> None:
    async def main(_: Clock) -> None:
        app = serve_app(timeout_s=0.05)
        late = chat_call(app, "endless", stream=True)
        await late.task
        assert late.status == 200
        last = json.loads(late.text.rstrip().split("\n\n")[-1].removeprefix("data: "))
        assert last["error"]["message"].startswith("not answered")
        assert "[DONE]" not in late.text
        assert scripted.running == 0
        assert counted(await scrape(app), "endless", "timeout") == "1.0"

    virtually(main)


def test_a_client_that_does_not_read_is_given_up(
    virtually: Any,
    serve_app: Any,
    chat_call: Any,
    scripted: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medsweep.serving.request.REFUSAL_TIMEOUT_S", 0.01)

    async def main(_: Clock) -> None:
        call = chat_call(serve_app(timeout_s=0.05), "endless", stream=True)
        call.reads = False
        await asyncio.wait_for(call.task, 30)
        assert scripted.running == 0
        assert "[DONE]" not in call.text

    virtually(main)


@pytest.mark.parametrize(
    ("model", "stream"), [("waits", False), ("waits", True), ("endless", True)]
)
async def test_a_client_that_goes_stops_the_engine_and_frees_its_place(
    serve_app: Any, chat_call: Any, scripted: Any, model: str, stream: bool
) -> None:
    app = serve_app(max_concurrent=1)
    going = chat_call(app, model, stream=stream)
    await until(lambda: scripted.running == 1)
    if model == "endless":
        await going.something_came.wait()
    behind = chat_call(app, "good")
    going.went.set()
    await asyncio.wait_for(going.task, 30)
    await asyncio.wait_for(behind.task, 30)  # the one place was free for it
    assert (behind.status, scripted.running) == (200, 0)
    counted_as = "endless" if model == "endless" else ""
    assert counted(await scrape(app), counted_as, "cancelled") == "1.0"


async def test_a_client_that_goes_while_it_waits_is_never_asked_of_the_engine(
    serve_app: Any, chat_call: Any, scripted: Any
) -> None:
    app = serve_app(max_concurrent=1)
    running = chat_call(app, "waits")
    await until(lambda: scripted.running == 1)
    waiting = chat_call(app, "endless")
    await asyncio.sleep(0)
    waiting.went.set()
    await asyncio.wait_for(waiting.task, 30)
    scripted.go_on.set()
    await running.task
    assert [asked.model for asked in scripted.asked] == ["waits"]


async def test_a_client_that_goes_is_counted_though_the_server_stops_waiting(
    serve_app: Any, chat_call: Any, scripted: Any
) -> None:
    app = serve_app()
    going = chat_call(app, "endless", stream=True)
    await going.something_came.wait()
    for _ in range(2):  # Ray Serve cancels a request that is ending already
        going.task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({going.task})
    await until(lambda: scripted.running == 0)
    assert counted(await scrape(app), "endless", "cancelled") == "1.0"


async def test_a_server_that_is_killed_stops_the_engine(
    serve_app: Any, chat_call: Any, scripted: Any
) -> None:
    call = chat_call(serve_app(), "waits")
    await until(lambda: scripted.running == 1)
    call.task.cancel()
    await asyncio.wait({call.task})
    assert scripted.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_ends_too_early_is_a_fault(
    serve_app: Any, chat_call: Any, stream: bool
) -> None:
    class Short:
        async def models(self) -> list[str]:
            return ["short"]

        async def stream(self, request: Generation) -> AsyncIterator[Delta]:
            yield Delta("One", 1, 4)

        async def check(self) -> None: ...

    call = chat_call(serve_app(Short()), "short", stream=stream)
    await call.task
    assert "generation failed" in call.text
    assert "[DONE]" not in call.text


@pytest.mark.parametrize(
    ("asked", "status", "given"), [(None, 200, 7), (7, 200, 7), (8, 400, None), (10**30, 400, None)]
)
async def test_the_longest_answer_is_the_server_s(
    serve_app: Any, chat_call: Any, scripted: Any, asked: int | None, status: int, given: int | None
) -> None:
    call = chat_call(serve_app(max_output_tokens=7), "good", max_tokens=asked)
    await call.task
    assert call.status == status
    assert [generation.max_tokens for generation in scripted.asked] == ([given] if given else [])


async def test_the_engine_is_told_the_longest_prompt(
    serve_app: Any, chat_call: Any, scripted: Any
) -> None:
    await chat_call(serve_app(max_prompt_tokens=99), "good").task
    assert scripted.asked[0].max_prompt_tokens == 99


def test_what_is_measured(virtually: Any, serve_app: Any, chat_call: Any) -> None:
    async def main(clock: Clock) -> str:
        app = serve_app(clock=clock)
        calls = [chat_call(app, "good", stream=stream) for stream in (True, False)]
        await asyncio.gather(*(call.task for call in calls))
        return await scrape(app)

    text = virtually(main)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    label = '{model="good"}'
    for name in ("queue", "prefill", "ttft", "e2e"):
        assert lines[f"medsweep_server_{name}_seconds_count{label}"] == "2.0"
    assert lines[f"medsweep_server_inter_token_seconds_count{label}"] == "4.0"
    assert float(lines[f"medsweep_server_prefill_seconds_sum{label}"]) == 0.5
    assert 1.0 <= float(lines[f"medsweep_server_queue_seconds_sum{label}"]) < 1.01
    assert float(lines[f"medsweep_server_batch_size_sum{label}"]) == 4.0
    assert lines[f"medsweep_server_prompt_tokens_total{label}"] == "8.0"
    assert lines[f"medsweep_server_output_tokens_total{label}"] == "6.0"
    assert (lines["medsweep_server_running"], lines["medsweep_server_queued"]) == ("0.0", "0.0")


async def test_names_that_somebody_makes_up_do_not_become_labels(
    serve_app: Any, chat_call: Any
) -> None:
    app = serve_app()
    call = chat_call(app, "made-up-name")
    await call.task
    assert call.status == 404
    text = await scrape(app)
    assert "made-up-name" not in text
    assert counted(text, "", "not_found") == "1.0"
