"""What every engine on a thread of its own does, tried on `generate` and on `continuous`."""

import asyncio
import dataclasses
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch

from asking import TOKENS, TUNED, Asker, batch_sizes, text
from medsweep.clock import FakeClock
from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter
from medsweep.models.templates import TEMPLATES
from medsweep.serving.admission import Limits
from medsweep.serving.app import build_app
from medsweep.serving.engines import engine_thread
from medsweep.serving.engines.generate import GenerateEngine
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.protocol import Delta, EngineDied, Generation
from medsweep.serving.server_metrics import ServerMetrics

from .conftest import BASE, engine_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RequestState, int]]:
    """Every token that a row takes while the test runs."""
    taken: list[tuple[RequestState, int]] = []
    push = RequestState.push

    def spy(row: RequestState, token: int) -> None:
        taken.append((row, token))
        push(row, token)

    monkeypatch.setattr(RequestState, "push", spy)
    return taken


async def test_models(asker: Asker) -> None:
    assert await asker.engine.models() == [BASE, TUNED]


async def test_one_batch_answers_as_each_alone(asker: Asker, expected: list[str]) -> None:
    answers = await asker.together([asker.request(number) for number in range(6)])
    assert [text(answer).strip() for answer in answers] == expected
    assert batch_sizes(answers) == [6] * 6
    assert len(set(expected)) > 1


async def test_alone_answers_the_same(asker: Asker, expected: list[str]) -> None:
    assert [(await asker.text(asker.request(n))).strip() for n in (0, 1)] == expected[:2]


async def test_the_base_answers_otherwise(asker: Asker, expected: list[str]) -> None:
    ask = [asker.request(number, model) for number in range(3) for model in (TUNED, BASE)]
    answers = await asker.together(ask)
    assert [text(answer).strip() for answer in answers[::2]] == expected[:3]
    alone = [await asker.text(asker.request(number, BASE)) for number in range(3)]
    assert [text(answer) for answer in answers[1::2]] == alone
    assert not {answer.strip() for answer in alone} & set(expected)


async def test_each_request_has_its_own_length(asker: Asker) -> None:
    lengths = [1, 3, 5]
    answers = await asker.together([asker.request(n, max_tokens=m) for n, m in enumerate(lengths)])
    for pieces, length in zip(answers, lengths, strict=True):
        assert pieces[-1].finish_reason == "length"
        assert pieces[-1].output_tokens == length
        assert all(piece.finish_reason is None for piece in pieces[:-1])


async def test_tokens_are_counted_and_the_beginning_is_timed(
    asker: Asker, pushed: list[tuple[RequestState, int]]
) -> None:
    pieces = await asker.deltas(asker.request(0))
    prompt = TEMPLATES["llama-3"].render(asker.request(0).messages or ())
    ids = asker.engine._tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert {piece.prompt_tokens for piece in pieces} == {len(ids)}
    counts = [piece.output_tokens for piece in pieces]
    # Tokens that come faster than events are sent share one.
    assert counts == sorted(set(counts))
    assert counts[-1] == len(pushed)
    tokens = [token for _, token in pushed]
    whole = asker.engine._tokenizer.decode(tokens, skip_special_tokens=True)
    assert text(pieces) == whole.lstrip()
    assert pieces[0].start is not None
    assert pieces[0].start.queue_s > 0
    assert pieces[0].start.prefill_s > 0
    assert [piece.start for piece in pieces[1:]] == [None] * (len(pieces) - 1)


async def test_tokens_are_gathered_for_as_long_as_the_client_handled_the_last_ones(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, gathered, clock = RequestState.take, [], FakeClock()

    async def noted(state: RequestState, gather_s: float) -> Delta:
        gathered.append(gather_s)
        return await take(state, gather_s)

    monkeypatch.setattr(RequestState, "take", noted)
    monkeypatch.setattr(engine_thread, "time", SimpleNamespace(perf_counter=clock.now))
    await asker.deltas(asker.request(0))
    assert set(gathered) == {0.0}
    gathered.clear()
    push, handled = RequestState.push, threading.Event()

    def held(state: RequestState, token: int) -> None:
        push(state, token)
        assert handled.wait(60)  # the second token comes after the client handled the first

    monkeypatch.setattr(RequestState, "push", held)
    async for _ in asker.engine.stream(asker.request(0)):
        clock.advance(0.03)
        handled.set()
    assert gathered[0] == 0.0
    assert len(gathered) > 1
    assert gathered[1:] == pytest.approx([0.03] * len(gathered[1:]))


async def test_a_stop_text_ends_the_answer_and_is_left_out(
    asker: Asker, expected: list[str]
) -> None:
    whole = expected[0]
    stop = whole[len(whole) // 3 : len(whole) // 3 + 4]
    pieces = await asker.deltas(asker.request(0, stop=(stop,)))
    assert text(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].output_tokens < TOKENS


async def test_a_stop_token_ends_the_answer(
    asker: Asker, pushed: list[tuple[RequestState, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await asker.deltas(asker.request(0))
    whole = [token for _, token in pushed]
    # Let the fourth token of the answer be a stop token.
    monkeypatch.setattr(asker.engine._served[TUNED], "stop_ids", frozenset([whole[3]]))
    pieces = await asker.deltas(asker.request(0))
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].output_tokens == whole.index(whole[3]) + 1 < len(whole)


async def test_a_prompt_is_continued_as_it_is(asker: Asker) -> None:
    pieces = await asker.deltas(Generation(BASE, None, "Asthma is", 3))
    ids = asker.engine._tokenizer("Asthma is", add_special_tokens=False)["input_ids"]
    assert pieces[-1].prompt_tokens == len(ids)


async def test_a_seed_repeats_the_sample_whoever_is_beside_it(asker: Asker) -> None:
    def sampled(seed: int | None) -> Generation:
        return asker.request(0, temperature=1.5, seed=seed)

    alone = await asker.text(sampled(1))
    together = await asker.together([asker.request(1), sampled(1), sampled(2), sampled(None)])
    assert text(together[1]) == alone != text(together[2])


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Generation(TUNED, None, "", 5), "the prompt is empty"),
        (Generation(TUNED, None, "x", 512), "max_tokens is 512; together they may be 512"),
        (Generation(TUNED, ({"role": "assistant", "content": "x"},), None, 5), "given: assistant"),
        (Generation("tuned-0.2", None, "x", 5), "unknown model 'tuned-0.2' .did you mean"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    asker: Asker, request_: Generation, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        await asker.deltas(request_)


async def test_a_client_that_goes_frees_its_place(
    asker: Asker, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, counts = threading.Event(), []
    push = RequestState.push

    def spy(row: RequestState, token: int) -> None:
        push(row, token)
        counts.append(row.text.tokens)
        if len(counts) == 1:
            assert gone.wait(30)

    monkeypatch.setattr(RequestState, "push", spy)
    stream: Any = asker.engine.stream(asker.request(0, max_tokens=200))
    assert (await anext(stream)).finish_reason is None
    await stream.aclose()
    gone.set()
    assert (await asker.text(asker.request(1))).strip() == expected[1]
    # One token of the first request, then those of the second from one on.
    assert counts[:2] == [1, 1]


async def test_one_that_goes_before_its_tokens_are_scored_harms_no_other(
    asker: Asker, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted, gone = asyncio.Event(), threading.Event()
    submit = asker.engine._submit

    def noted(*arguments: Any, **named: Any) -> Any:
        future = submit(*arguments, **named)
        submitted.set()
        return future

    held = submit(lambda: gone.wait(30), between_tokens=True)
    monkeypatch.setattr(asker.engine, "_submit", noted)
    scored = Generation(BASE, None, "Asthma is", 0, logprobs=0, echo=True)
    client = asyncio.create_task(asker.deltas(scored))
    await submitted.wait()
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    gone.set()
    await asyncio.wrap_future(held)
    assert (await asker.text(asker.request(0))).strip() == expected[0]
    assert asker.engine.fault() is None


async def test_one_that_goes_while_it_waits_takes_no_place(asker: Asker) -> None:
    # Room for eight: had the first kept its place, one of the eight would have waited.
    answers = await asker.together(
        [asker.request(number % 6) for number in range(8)], leaving=[asker.request(0)]
    )
    assert batch_sizes(answers) == [8] * 8


async def test_a_failure_goes_to_each_request_of_the_batch_and_to_no_other(
    asker: Asker, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(asker.engine._model.adapters, "select", fail)
        failed = await asyncio.gather(
            *(asker.deltas(asker.request(number)) for number in range(6)), return_exceptions=True
        )
        assert [str(error) for error in failed] == ["out of memory"] * 6
        with pytest.raises(StageError, match="does not generate: RuntimeError"):
            await asker.engine.check()
    await asker.engine.check()
    assert (await asker.text(asker.request(0))).strip() == expected[0]


async def test_the_threads_are_the_profile_s(asker: Asker) -> None:
    seen: list[int] = []
    await asker.engine._run_on_thread(
        lambda: seen.append(torch.get_num_threads()), between_tokens=True
    )
    assert seen == [asker.engine._settings.cpus]


class Unscored(GenerateEngine):
    """An engine that gives no log-probabilities."""

    @property
    def scores_tokens(self) -> bool:
        return False


async def test_log_probabilities_are_refused_before_an_answer_begins(
    tuned: Adapter, pushed: list[tuple[RequestState, int]]
) -> None:
    engine = Unscored(engine_settings("generate", adapters={TUNED: tuned}))
    asker = Asker(engine, ["What is gout?"])
    echoed = Generation(BASE, None, "Asthma is", 0, echo=True)
    for request in (asker.request(0, logprobs=0), dataclasses.replace(echoed, logprobs=3)):
        with pytest.raises(InputError, match="engine generate gives no log-probabilities here"):
            await asker.deltas(request)
    assert pushed == []
    [nothing] = await asker.deltas(echoed)
    assert nothing.prompt_text == "Asthma is"
    engine.close()


PATIENT = "a patient of Dr. Miller"


class Broken(GenerateEngine):
    """An engine whose thread does not come as far as its first request."""

    def _on_thread(self) -> None:
        raise RuntimeError(PATIENT)


class BrokenLater(GenerateEngine):
    """An engine that cannot clear up what a failed step left behind."""

    def _step(self) -> None:
        self._running = self._waiting.take(1)
        raise RuntimeError("the step failed")

    def _reset(self) -> None:
        raise RuntimeError("nor can it be cleared up")


@pytest.mark.parametrize("engine", [Broken, BrokenLater])
async def test_a_thread_that_dies_fails_requests_now_and_later(
    engine: type[GenerateEngine], tuned: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    broken = engine(engine_settings("generate", adapters={TUNED: tuned}))
    asker = Asker(broken, ["What is gout?"])
    ask = [asker.request(0, BASE) for _ in range(3)]
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*map(asker.text, ask), return_exceptions=True)
        with pytest.raises(EngineDied, match="the engine's thread ended: RuntimeError"):
            await asker.text(asker.request(0, BASE))
        with pytest.raises(EngineDied):
            await broken.add_adapter("late", tuned)
        with pytest.raises(StageError, match="does not generate: EngineDied"):
            await broken.check()
    assert all(isinstance(answer, RuntimeError | EngineDied) for answer in answers)
    assert broken.fault() == "the engine's thread ended: RuntimeError"
    assert PATIENT not in caplog.text
    assert "engine's thread ended" in caplog.text

    async def lookup(_: str) -> GenerateEngine:
        return broken

    app = build_app(
        lookup,
        metrics=ServerMetrics([]),
        limits=Limits(),
        check=broken.check,
        fault=broken.fault,
    )
    body = {"model": BASE, "messages": [{"role": "user", "content": "What is gout?"}]}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        health = await client.get("/health")
        answer = await client.post("/v1/chat/completions", json=body)
    assert (health.status_code, answer.status_code) == (503, 503)
    assert health.json()["error"]["message"] == "the engine's thread ended: RuntimeError"
    assert answer.json()["error"]["code"] == "engine_died"
    broken.close()  # also of a thread that is no more
