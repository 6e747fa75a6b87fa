import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from asking import TUNED, Asker, batch_sizes, text  # noqa: E402
from medsweep.errors import EnvironmentFault, InputError, StageError  # noqa: E402
from medsweep.finetune.adapter import Adapter  # noqa: E402
from medsweep.models.catalog import MODELS  # noqa: E402
from medsweep.serving.engines import kv  # noqa: E402
from medsweep.serving.engines.continuous import ContinuousEngine, next_tokens  # noqa: E402
from medsweep.serving.engines.detokenize import TextStream  # noqa: E402
from medsweep.serving.engines.request_state import RequestState  # noqa: E402
from medsweep.serving.protocol import EngineSettings, Generation  # noqa: E402

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def row(**fields: Any) -> RequestState:
    request = Generation("m", None, "x", 9, **fields)
    loop = asyncio.new_event_loop()
    loop.close()
    return RequestState(request, [1], frozenset(), None, TextStream(None), loop)


def drawn(times: int, **fields: Any) -> Counter[int]:
    one, generators = row(**fields), {}
    return Counter(next_tokens([0], LOGITS[None], [one], generators)[0] for _ in range(times))


def test_greedy_takes_the_likeliest() -> None:
    assert drawn(3) == {0: 3}


def test_draws_follow_the_shares() -> None:
    counts = drawn(4000, temperature=1.0, seed=5)
    shares = [counts[token] / 4000 for token in range(4)]
    # Standard errors of the four shares are at most 0.008.
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.032)


def test_temperature_sharpens() -> None:
    # At 0.5 the shares are squared: 0.5 becomes 0.25 of 0.365.
    counts = drawn(4000, temperature=0.5, seed=5)
    assert counts[0] / 4000 == pytest.approx(0.25 / 0.365, abs=0.032)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {0}), (0.5, {0}), (0.79, {0, 1}), (0.9, {0, 1, 2})]
)
def test_top_p_keeps_the_likeliest_that_reach_it(top_p: float, kept: set[int]) -> None:
    assert set(drawn(400, temperature=1.0, top_p=top_p, seed=5)) == kept


def test_a_row_s_draws_do_not_depend_on_its_neighbours() -> None:
    def draws(neighbours: int) -> list[int]:
        one = row(temperature=1.0, seed=9)
        rows = [*(row(temperature=1.0) for _ in range(neighbours)), one]
        generators: dict[RequestState, Any] = {}
        likeliest = [0] * len(rows)
        logits = LOGITS.expand(len(rows), -1)
        return [next_tokens(likeliest, logits, rows, generators)[-1] for _ in range(20)]

    assert draws(0) == draws(3)


BASE = "standin-llama-3-8b"


@pytest.fixture
def asker(tuned: Adapter, questions: list[str]) -> Iterator[Asker]:
    engine = ContinuousEngine(
        EngineSettings("continuous", MODELS[BASE], "float32", cpus=1, adapters={TUNED: tuned})
    )
    yield Asker(engine, questions)
    engine.close()


@pytest.mark.slow
async def test_out_of_memory_fails_only_the_prompt_that_does_not_fit(
    asker: Asker, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream: Any = asker.engine.stream(asker.request(0))
    pieces = [await anext(stream)]
    model = asker.engine._model
    logits = model.logits

    def scarce(names: Any, **inputs: Any) -> Any:
        if inputs["input_ids"].numel() > 120:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(names, **inputs)

    monkeypatch.setattr(model, "logits", scarce)
    long = Generation(TUNED, None, "asthma " * 60, 4)
    answers = await asyncio.gather(
        *(asker.deltas(asker.request(number)) for number in (1, 2)),
        asker.deltas(long),
        return_exceptions=True,
    )
    assert [text(answer).strip() for answer in answers[:2]] == expected[1:3]  # type: ignore[arg-type]
    assert isinstance(answers[2], StageError)
    assert str(answers[2]).startswith("out of memory while the prompt's ")
    pieces += [piece async for piece in stream]
    assert text(pieces).strip() == expected[0]


@pytest.mark.slow
async def test_requests_whose_keys_find_no_memory_fail_and_do_not_wait(
    asker: Asker, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(asker.engine._slots, "admit", full)
        answers = asyncio.gather(
            *(asker.deltas(asker.request(number)) for number in range(3)), return_exceptions=True
        )
        # They waited for ever.
        outcomes = await asyncio.wait_for(answers, 120)
    assert [type(outcome) for outcome in outcomes] == [torch.OutOfMemoryError] * 3
    assert (await asker.text(asker.request(0))).strip() == expected[0]


@pytest.mark.slow
async def test_requests_wait_until_the_cache_has_room(
    asker: Asker, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, model = asker.engine, asker.engine._model
    monkeypatch.setattr(kv, "BLOCK", 128)
    tokens = 256
    slots = kv.Slots(16, tokens, model.first_cache())
    monkeypatch.setattr(engine, "_slots", slots)
    monkeypatch.setattr(engine._decoder, "_slots", slots)
    answers = await asker.together([asker.request(number) for number in range(6)])
    assert [text(answer).strip() for answer in answers] == expected
    assert max(batch_sizes(answers)) == 2
    fault = rf"the prompt has \d+ tokens and max_tokens is 300; .* holds {tokens} tokens"
    with pytest.raises(InputError, match=fault):
        await asker.deltas(asker.request(0, max_tokens=300))


@pytest.mark.slow
def test_its_settings_are_told(asker: Asker) -> None:
    """On a GPU the reason, where steps are computed without CUDA graphs, which is slower."""
    engine: Any = asker.engine
    rows = {"max_num_seqs": 16, "kv_cache_tokens": 16 * 512, "prefix_caching": False}
    assert engine.details() == rows
    engine._decoder.runs_ahead = True
    engine._decoder.refused = None
    assert engine.details() == {**rows, "cuda_graphs": True}
    engine._decoder.refused = "a first step failed"
    assert engine.details() == {**rows, "cuda_graphs": "a first step failed"}
    engine._decoder.runs_ahead = False


def test_the_cache_takes_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    like = [(torch.zeros(1, 2, 1, 8), torch.zeros(1, 2, 1, 8))] * 3  # 384 bytes for a token
    monkeypatch.setattr(kv, "_free_bytes", lambda device: 768_000)
    assert kv.token_budget(like, 5000) == 1000
    assert kv.token_budget(like, 900) == 900
    monkeypatch.setattr(kv, "_free_bytes", lambda device: 190_000)
    with pytest.raises(EnvironmentFault, match="the KV cache of 256 tokens needs"):
        kv.token_budget(like, 5000)
    monkeypatch.setattr(kv, "_free_bytes", lambda device: None)
    assert kv.token_budget(like, 5000) == 5000
