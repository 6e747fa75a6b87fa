import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from answering import until
from medsweep.errors import InputError
from medsweep.hardware.catalog import ACCELERATORS
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.models.catalog import MODELS, PAPER_MODELS
from medsweep.models.precision import serving_refusal
from medsweep.serving.config import ServeSpec
from medsweep.serving.engines.compatibility import GpuUse, gpu_use
from medsweep.serving.engines.replicas import ReplicatedEngine
from medsweep.serving.protocol import Delta, EngineSettings, Generation

SETTINGS = EngineSettings("continuous", MODELS["distilgpt2"], "float32", replicas=2)


class Replica:
    """An engine that answers when it is let."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.answering, self.most, self.closed = 0, 0, False
        self.adapters: list[str] = []
        self.let = asyncio.Event()
        self.scores_tokens = False
        self.broken: str | None = None

    def fault(self) -> str | None:
        return self.broken

    async def models(self) -> list[str]:
        return ["base", *self.adapters]

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        self.answering += 1
        self.most = max(self.most, self.answering)
        try:
            await self.let.wait()
            yield Delta(str(self.settings.device), 1, 1, "length")
        finally:
            self.answering -= 1

    async def add_adapter(self, name: str, adapter: Any) -> None:
        if adapter == "bad" and self.settings.device == 1:
            raise InputError("another base")
        self.adapters.append(name)

    async def remove_adapter(self, name: str) -> None:
        self.adapters.remove(name)

    async def check(self) -> None:
        self.let.set()

    def close(self) -> None:
        self.closed = True


def opened() -> tuple[ReplicatedEngine, list[Replica]]:
    made: list[Replica] = []

    def open_replica(settings: EngineSettings) -> Any:
        made.append(Replica(settings))
        return made[-1]

    return ReplicatedEngine(SETTINGS, open_replica), made


async def ask(engine: ReplicatedEngine) -> list[str]:
    request = Generation("base", None, "x", 1)
    return [delta.text async for delta in engine.stream(request)]


async def test_requests_go_to_the_replica_that_answers_the_fewest() -> None:
    engine, (first, second) = opened()
    assert [each.settings.device for each in (first, second)] == [0, 1]
    tasks = [asyncio.create_task(ask(engine)) for _ in range(5)]
    await until(lambda: (first.answering, second.answering) == (3, 2))
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.gather(tasks[0], tasks[2], return_exceptions=True)
    assert (first.answering, second.answering) == (1, 2)
    tasks.append(asyncio.create_task(ask(engine)))
    await until(lambda: (first.answering, second.answering) == (2, 2))
    await engine.check()
    answers = await asyncio.gather(*(tasks[place] for place in (1, 3, 4, 5)))
    assert sorted(answers) == [["0"], ["0"], ["1"], ["1"]]
    engine.close()
    assert first.closed
    assert second.closed


async def test_an_adapter_is_in_all_replicas_or_in_none() -> None:
    engine, made = opened()
    adapter: Any = "good"
    await engine.add_adapter("one", adapter)
    assert await engine.models() == ["base", "one"]
    adapter = "bad"
    with pytest.raises(InputError, match="another base"):
        await engine.add_adapter("two", adapter)
    assert [each.adapters for each in made] == [["one"], ["one"]]
    await engine.remove_adapter("one")
    assert [each.adapters for each in made] == [[], []]


def test_replicas_give_log_probabilities_if_their_engine_does() -> None:
    engine, made = opened()
    assert not engine.scores_tokens
    for each in made:
        each.scores_tokens = True
    assert engine.scores_tokens


def test_a_replica_that_does_not_open_closes_the_others() -> None:
    made: list[Replica] = []

    def open_replica(settings: EngineSettings) -> Any:
        if made:
            raise InputError("out of memory")
        made.append(Replica(settings))
        return made[-1]

    with pytest.raises(InputError):
        ReplicatedEngine(SETTINGS, open_replica)
    assert made[0].closed


@pytest.mark.slow
async def test_real_replicas_answer_alike(tuned: Any, questions: list[str]) -> None:
    from asking import TUNED, Asker
    from medsweep.serving.engines import open_engine

    settings = EngineSettings(
        "continuous", MODELS["standin-llama-3-8b"], "float32", cpus=1, adapters={TUNED: tuned}
    )
    texts = []
    for replicas in (1, 2):
        engine = open_engine(
            EngineSettings(**{**settings.__dict__, "replicas": replicas, "device": 0})
        )
        asker = Asker(engine, questions)
        texts.append(await asyncio.gather(*(asker.text(asker.request(n)) for n in range(4))))
        engine.close()
    assert texts[0] == texts[1]


# A process can allocate 14.5 GiB of a T4; the 15.0 GiB of Llama 3 8B's weights do not fit.
T4 = ACCELERATORS["t4"]


def machine(gpus: int, accelerator: Accelerator = T4) -> HardwareProfile:
    return HardwareProfile("box", 4, gpus, accelerator if gpus else None, 64 * GIB)


@pytest.mark.parametrize(
    ("engine", "model", "gpus", "use"),
    [
        ("continuous", "distilgpt2", 0, GpuUse(1, 0)),
        ("continuous", "distilgpt2", 1, GpuUse(1, 1)),
        ("continuous", "distilgpt2", 2, GpuUse(2, 1, "2 replicas")),
        ("generate", "distilgpt2", 2, GpuUse(2, 1, "2 replicas")),
        ("vllm", "distilgpt2", 0, GpuUse(1, 0)),
        ("vllm", "distilgpt2", 2, GpuUse(2, 1, "2 replicas")),
        ("vllm", "llama-3-8b", 1, GpuUse(1, 1)),
        ("vllm", "llama-3-8b", 2, GpuUse(1, 2, "tensor parallel over 2")),
        ("continuous", "llama-3-8b", 2, GpuUse(2, 1, "2 replicas")),  # the plan refuses it
        ("a-plugin", "distilgpt2", 2, GpuUse(1, 2)),
    ],
)
def test_how_several_gpus_are_used(engine: str, model: str, gpus: int, use: GpuUse) -> None:
    how = {"dtype": "float16", "quantization": "none"}
    assert gpu_use(engine, MODELS[model], machine(gpus), **how) == use


def test_a_model_is_split_exactly_where_one_gpu_refuses_it() -> None:
    how = {"dtype": "float16", "quantization": "none"}
    seen = set()
    for accelerator in ACCELERATORS.values():
        pair = machine(2, accelerator)
        for name in PAPER_MODELS:
            refused = serving_refusal(MODELS[name], pair, **how) is not None
            use = gpu_use("vllm", MODELS[name], pair, **how)
            assert use.gpus == (2 if refused else 1), (name, accelerator.name)
            seen.add(refused)
    assert seen == {True, False}


async def test_a_broken_replica_gets_no_requests_while_another_answers() -> None:
    engine, (first, _) = opened()
    await engine.check()
    first.broken = "its GPU is lost"
    assert [*await ask(engine), *await ask(engine)] == ["1", "1"]
    first.broken = None
    assert await ask(engine) == ["0"]


def test_the_settings_of_a_server_follow_the_same_rule() -> None:
    how: Any = {"dtype": "float16", "cpus": 4, "profile": machine(2)}
    small = ServeSpec().settings("vllm", MODELS["distilgpt2"], **how)
    assert (small.replicas, small.gpus) == (2, 1)
    assert small.gpu_use == "2 replicas"
    large = ServeSpec().settings("vllm", MODELS["llama-3-8b"], **how)
    assert (large.replicas, large.gpus) == (1, 2)
    assert large.gpu_use == "tensor parallel over 2"


def test_a_long_context_needs_its_room_beside_the_weights() -> None:
    """Llama 3 8B of 128k tokens on two L4: 15.0 GiB of weights and 128 KiB for each token.

    With the allowance of a tenth, 22 GiB hold the weights and at most 5 GiB for 40,960 tokens.
    """
    model = replace(MODELS["llama-3-8b"], context_length=131_072)
    how: Any = {"dtype": "bfloat16", "cpus": 4, "profile": machine(2, ACCELERATORS["l4"])}
    for length, use in ((None, (1, 2)), (65_536, (1, 2)), (8192, (2, 1))):
        settings = ServeSpec().settings("vllm", model, **how, max_model_len=length)
        assert (settings.replicas, settings.gpus) == use, length
    # The other engines need no room for the longest request before it comes.
    settings = ServeSpec().settings("continuous", model, **how)
    assert (settings.replicas, settings.gpus) == (2, 1)
