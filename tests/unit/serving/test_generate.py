import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from medsweep.errors import InputError
from medsweep.finetune.adapter import read_adapter
from medsweep.finetune.data import conversation
from medsweep.finetune.evaluate import answer_questions
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES
from medsweep.serving.engines import generate
from medsweep.serving.engines.generate import GenerateEngine
from medsweep.serving.protocol import Delta, Generation

pytestmark = pytest.mark.slow

BASE = "standin-llama-3-8b"
TUNED = "tuned-0.1"  # a name with a dot, which PEFT's own may not have
TOKENS = 24


@pytest.fixture(scope="module")
def engine(fine_tuned: Any) -> Iterator[GenerateEngine]:
    adapter = read_adapter(fine_tuned.job.folder)
    made = GenerateEngine(MODELS[BASE], {TUNED: adapter}, dtype="float32", max_batch_size=8)
    yield made
    made.close()


@pytest.fixture(scope="module")
def questions(fine_tuned: Any) -> list[str]:
    return [pair.question for pair in fine_tuned.job.split.evaluation]


@pytest.fixture(scope="module")
def expected(fine_tuned: Any, questions: list[str]) -> dict[str, str]:
    """Each question's greedy answer, without the engine."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = read_adapter(fine_tuned.job.folder)
    base = AutoModelForCausalLM.from_pretrained(adapter.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(adapter.base)
    answers = answer_questions(
        PeftModel.from_pretrained(base, adapter.folder).eval(),
        tokenizer,
        TEMPLATES[adapter.template],
        questions,
        stop_ids=tokenizer.convert_tokens_to_ids(list(adapter.stop_tokens)),
        max_tokens=TOKENS,
        batch_size=1,
    )
    return dict(zip(questions, answers, strict=True))


def asking(question: str, model: str = TUNED, **fields: Any) -> Generation:
    settings = {"max_tokens": TOKENS} | fields
    return Generation(model, tuple(conversation(question)), None, **settings)


async def deltas(engine: GenerateEngine, request: Generation) -> list[Delta]:
    return [delta async for delta in engine.stream(request)]


def text(pieces: Sequence[Delta]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.fixture
def together(engine: GenerateEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Hold the engine until every request waits; give their pieces and the sizes of the batches."""

    async def ask(requests: Sequence[Generation]) -> tuple[list[list[Delta]], list[int]]:
        held, go_on = threading.Event(), threading.Event()
        sizes: list[int] = []
        answer = engine._answer

        def spy(rows: Sequence[Any]) -> None:
            if not held.is_set():
                held.set()
                assert go_on.wait(30)
            else:
                sizes.append(len(rows))
            answer(rows)

        monkeypatch.setattr(engine, "_answer", spy)
        blocker = asyncio.create_task(deltas(engine, asking("Wait?", max_tokens=1)))
        assert await asyncio.to_thread(held.wait, 30)
        tasks = [asyncio.create_task(deltas(engine, request)) for request in requests]
        while engine._waiting.qsize() < len(requests):
            await asyncio.sleep(0)
        go_on.set()
        await blocker
        return list(await asyncio.gather(*tasks)), sizes

    return ask


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every token that the engine takes while the test runs."""
    tokens: list[int] = []
    take = generate._take_token

    def spy(row: Any, token: int, *, ended: bool) -> None:
        tokens.append(token)
        take(row, token, ended=ended)

    monkeypatch.setattr(generate, "_take_token", spy)
    return tokens


def test_models(engine: GenerateEngine) -> None:
    assert engine.models() == [BASE, TUNED]


async def test_one_batch_answers_as_each_alone(
    together: Callable[..., Any], questions: list[str], expected: dict[str, str]
) -> None:
    answers, sizes = await together([asking(question) for question in questions])
    assert sizes == [6]
    assert {q: text(a).strip() for q, a in zip(questions, answers, strict=True)} == expected
    assert len(set(expected.values())) > 1


async def test_alone_answers_the_same(
    engine: GenerateEngine, questions: list[str], expected: dict[str, str]
) -> None:
    for question in questions[:2]:
        assert text(await deltas(engine, asking(question))).strip() == expected[question]


async def test_base_and_adapter_are_asked_apart(
    together: Callable[..., Any], questions: list[str], expected: dict[str, str]
) -> None:
    ask = [asking(question, model) for question in questions[:3] for model in (TUNED, BASE)]
    answers, sizes = await together(ask)
    assert sizes == [3, 3]
    tuned, base = answers[::2], answers[1::2]
    assert [text(a).strip() for a in tuned] == [expected[question] for question in questions[:3]]
    assert all(text(a).strip() != text(b).strip() for a, b in zip(tuned, base, strict=True))


async def test_a_batch_is_no_larger_than_it_may_be(
    engine: GenerateEngine,
    together: Callable[..., Any],
    questions: list[str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_max_batch_size", 4)
    answers, sizes = await together([asking(question) for question in questions])
    assert sizes == [4, 2]
    assert [text(a).strip() for a in answers] == [expected[question] for question in questions]


async def test_each_request_has_its_own_length(
    together: Callable[..., Any], questions: list[str]
) -> None:
    lengths = [1, 3, 5]
    answers, sizes = await together(
        [asking(q, max_tokens=n) for q, n in zip(questions, lengths, strict=False)]
    )
    assert sizes == [3]
    for pieces, length in zip(answers, lengths, strict=True):
        assert pieces[-1].finish_reason == "length"
        assert pieces[-1].output_tokens == length
        assert all(piece.finish_reason is None for piece in pieces[:-1])


async def test_tokens_are_counted(
    engine: GenerateEngine, questions: list[str], taken: list[int]
) -> None:
    pieces = await deltas(engine, asking(questions[0]))
    prompt = TEMPLATES["llama-3"].render(conversation(questions[0]))
    ids = engine._tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert {piece.prompt_tokens for piece in pieces} == {len(ids)}
    counts = [piece.output_tokens for piece in pieces]
    # The first token comes by itself; of the others, those that come together share an event.
    assert counts[0] == 1
    assert counts == sorted(set(counts))
    assert counts[-1] == len(taken)
    assert text(pieces) == engine._tokenizer.decode(taken, skip_special_tokens=True).lstrip()


async def test_a_stop_text_ends_the_answer_and_is_left_out(
    engine: GenerateEngine, questions: list[str], expected: dict[str, str]
) -> None:
    whole = expected[questions[0]]
    stop = whole[len(whole) // 3 : len(whole) // 3 + 4]
    pieces = await deltas(engine, asking(questions[0], stop=(stop,)))
    assert text(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].output_tokens < TOKENS


async def test_a_stop_token_ends_the_answer(
    engine: GenerateEngine,
    questions: list[str],
    taken: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await deltas(engine, asking(questions[0]))
    whole = list(taken)
    # Let the fourth token of the answer be a stop token.
    monkeypatch.setattr(engine, "_stop_ids", frozenset([whole[3]]))
    pieces = await deltas(engine, asking(questions[0]))
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].output_tokens == whole.index(whole[3]) + 1 < len(whole)


async def test_a_prompt_is_continued_as_it_is(engine: GenerateEngine) -> None:
    pieces = await deltas(engine, Generation(BASE, None, "Asthma is", 3))
    ids = engine._tokenizer("Asthma is", add_special_tokens=False)["input_ids"]
    assert pieces[-1].prompt_tokens == len(ids)


async def test_a_seed_repeats_the_sample(engine: GenerateEngine, questions: list[str]) -> None:
    async def sample(seed: int | None, temperature: float = 1.5) -> str:
        request = asking(questions[0], temperature=temperature, seed=seed)
        return text(await deltas(engine, request))

    assert await sample(1) == await sample(1)
    assert await sample(1) != await sample(2)


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Generation(TUNED, None, "", 5), "the prompt is empty"),
        (Generation(TUNED, None, "x", 512), "max_tokens is 512; together they may be 512"),
        (
            Generation(TUNED, ({"role": "assistant", "content": "x"},), None, 5),
            "given: assistant",
        ),
    ],
)
async def test_what_does_not_fit_is_refused(
    engine: GenerateEngine, request_: Generation, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        await deltas(engine, request_)


async def test_a_client_that_goes_frees_its_place(
    engine: GenerateEngine,
    questions: list[str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[Any] = []
    gone = threading.Event()
    take = generate._take_token

    def spy(row: Any, token: int, *, ended: bool) -> None:
        first = not rows
        rows.append(row)
        take(row, token, ended=ended)
        if first:
            assert gone.wait(30)

    monkeypatch.setattr(generate, "_take_token", spy)
    stream: AsyncIterator[Delta] = engine.stream(asking(questions[0], max_tokens=200))
    first = await anext(stream)
    assert first.finish_reason is None
    await stream.aclose()  # type: ignore[attr-defined]
    assert rows[0].done
    gone.set()
    assert text(await deltas(engine, asking(questions[1]))).strip() == expected[questions[1]]
    assert rows[0].text.tokens == 1


async def test_a_failure_goes_to_each_request_of_the_batch_and_to_no_other(
    engine: GenerateEngine,
    questions: list[str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_answer", fail)
        failed = await asyncio.gather(
            *(deltas(engine, asking(question)) for question in questions), return_exceptions=True
        )
    assert [str(error) for error in failed] == ["out of memory"] * 6
    assert text(await deltas(engine, asking(questions[0]))).strip() == expected[questions[0]]


def test_a_request_of_a_closed_loop_does_not_end_the_engine(
    engine: GenerateEngine,
    questions: list[str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached, closed = threading.Event(), threading.Event()
    answer = engine._answer

    def wait(rows: Sequence[Any]) -> None:
        reached.set()
        assert closed.wait(30)
        for row in rows:
            row.done = False  # as if the client had gone after this was asked
        answer(rows)

    async def leave() -> None:
        task = asyncio.create_task(deltas(engine, asking(questions[0])))
        assert await asyncio.to_thread(reached.wait, 30)
        task.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_answer", wait)
        asyncio.run(leave())
        closed.set()
        assert (
            text(asyncio.run(deltas(engine, asking(questions[1])))).strip()
            == (expected[questions[1]])
        )
