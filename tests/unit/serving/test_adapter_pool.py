import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from medsweep.clock import MonotonicClock
from medsweep.errors import StageError, UnknownName
from medsweep.finetune.adapter import Adapter, base_sha256
from medsweep.finetune.adapter_copy import LORA_FILES, verified_copy
from medsweep.serving import adapter_pool as module
from medsweep.serving.adapter_pool import AdapterPool
from medsweep.serving.adapter_source import AdapterSource
from medsweep.serving.api_errors import Refused
from medsweep.serving.protocol import Delta, Generation
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics
from support import adapter_of, write_card


class CountingEngine:
    """Fails a test that uses an adapter which is not there, or has too many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.loaded: dict[str, Adapter] = {}
        self.used: Counter[str] = Counter()
        self.began: list[str] = []
        self.loads: list[str] = []
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def models(self) -> list[str]:
        return ["base"]

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        assert request.model == "base" or request.model in self.loaded
        self.used[request.model] += 1
        try:
            for number in (1, 2, 3):
                await asyncio.sleep(0)
                await self.may_answer.wait()
                assert request.model == "base" or request.model in self.loaded
                yield Delta(f"{request.model} ", number, 1, "stop" if number == 3 else None)
        finally:
            self.used[request.model] -= 1

    async def add_adapter(self, name: str, adapter: Adapter) -> None:
        self.began.append(name.partition("#")[0])
        await self.may_load.wait()
        self.loaded[name] = adapter
        self.loads.append(name.partition("#")[0])
        assert len(self.loaded) <= self.most

    async def remove_adapter(self, name: str) -> None:
        assert not self.used[name], "evicted while in use"
        del self.loaded[name]
        await asyncio.sleep(0)

    async def check(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def source_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AdapterSource]:
    """Makes a source with adapters of the given names; one called `broken` cannot be read."""

    def read(folder: Path, **_: bool) -> Adapter:
        if folder.name == "broken":
            raise StageError(f"{folder}: not a whole adapter")
        return Adapter(folder, "base", folder, "chatml", (), "0")

    monkeypatch.setattr(module, "read_adapter", read)

    def make(names: str) -> AdapterSource:
        for name in names.split():
            (tmp_path / name).mkdir()
            write_card(tmp_path / name)
        return AdapterSource("base", {}, tmp_path, MonotonicClock())

    return make


def make_pool(
    source: AdapterSource, most: int
) -> tuple[AdapterPool, CountingEngine, PrometheusSink]:
    engine, sink = CountingEngine(most), PrometheusSink()
    metrics = ServerMetrics([sink])
    pool = AdapterPool(
        engine, source, None, max_loaded=most, metrics=metrics, clock=MonotonicClock()
    )
    return pool, engine, sink


async def ask(pool: AdapterPool, model: str) -> str:
    request = Generation(model, None, "Why?", 3)
    return "".join([delta.text async for delta in pool.stream(request)])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.0002)


async def a_while() -> None:
    """Give what must not happen the time to happen."""
    for _ in range(20):
        await asyncio.sleep(0.0002)


async def test_an_adapter_is_loaded_when_it_is_asked_for(source_of: Any) -> None:
    pool, engine, sink = make_pool(source_of("a b"), 2)
    assert await pool.models() == ["base", "a", "b"]
    assert await ask(pool, "base") == "base base base "
    assert engine.loads == []
    assert await ask(pool, "a") == "a#1 a#1 a#1 "
    assert await ask(pool, "a") == "a#1 a#1 a#1 "
    assert engine.loads == ["a"]
    assert b"medsweep_server_adapters_loaded 1.0" in sink.text()
    with pytest.raises(UnknownName, match="known: a, b, base"):
        await ask(pool, "c")


async def test_many_who_ask_at_once_load_it_once(source_of: Any) -> None:
    pool, engine, _ = make_pool(source_of("a"), 1)
    answers = await asyncio.gather(*(ask(pool, "a") for _ in range(30)))
    assert set(answers) == {"a#1 a#1 a#1 "}
    assert engine.loads == ["a"]


async def test_the_least_recently_used_makes_room(source_of: Any) -> None:
    pool, engine, sink = make_pool(source_of("a b c"), 2)
    for name in ("a", "b", "a", "c", "a", "b"):
        await ask(pool, name)
    assert engine.loads == ["a", "b", "c", "b"]
    assert {name.partition("#")[0] for name in engine.loaded} == {"a", "b"}
    text = sink.text().decode()
    assert 'medsweep_server_adapter_loads_total{outcome="ok"} 4.0' in text
    assert "medsweep_server_adapter_evictions_total 2.0" in text
    assert "medsweep_server_adapter_load_seconds_count 4.0" in text


async def test_none_is_evicted_while_a_request_uses_it_however_long(source_of: Any) -> None:
    pool, engine, _ = make_pool(source_of("a b"), 1)
    engine.may_answer.clear()
    first = asyncio.create_task(ask(pool, "a"))
    await until(lambda: engine.used["a#1"] == 1)
    second = asyncio.create_task(ask(pool, "b"))
    await a_while()
    assert engine.began == ["a"]
    engine.may_answer.set()
    assert (await first, await second) == ("a#1 a#1 a#1 ", "b#2 b#2 b#2 ")


async def test_whoever_waits_for_a_place_gets_it_however_busy_the_others_are(
    source_of: Any,
) -> None:
    pool, _, _ = make_pool(source_of("a b"), 1)
    answered: list[str] = []

    async def keep_asking() -> None:
        while True:
            await ask(pool, "a")
            answered.append("a")

    busy = [asyncio.create_task(keep_asking()) for _ in range(4)]
    await until(lambda: len(answered) > 3)
    assert (await asyncio.wait_for(ask(pool, "b"), 30)).startswith("b#")
    for task in busy:
        task.cancel()
    await asyncio.wait(busy)


async def test_loading_one_does_not_hold_up_the_others(source_of: Any) -> None:
    pool, engine, _ = make_pool(source_of("a b"), 2)
    await ask(pool, "a")
    engine.may_load.clear()
    waiting = asyncio.create_task(ask(pool, "b"))
    await until(lambda: engine.began == ["a", "b"])
    assert await ask(pool, "a") == "a#1 a#1 a#1 "
    assert await ask(pool, "base")
    assert not waiting.done()
    engine.may_load.set()
    assert (await waiting).startswith("b#2")


async def test_a_client_that_goes_while_it_loads_takes_it_from_nobody(source_of: Any) -> None:
    pool, engine, _ = make_pool(source_of("a"), 1)
    engine.may_load.clear()
    going, staying = (asyncio.create_task(ask(pool, "a")) for _ in range(2))
    await until(lambda: engine.began == ["a"])
    going.cancel()
    await asyncio.wait({going})
    engine.may_load.set()
    assert (await staying).startswith("a#1")
    assert engine.loads == ["a"]


async def test_one_that_cannot_be_loaded_is_tried_again_and_takes_no_place(
    source_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool, engine, sink = make_pool(source_of("broken good"), 1)
    for _ in range(3):
        with pytest.raises(Refused, match="adapter 'broken' cannot be loaded") as refused:
            await ask(pool, "broken")
        assert refused.value.status == 500
        assert str(tmp_path) not in str(refused.value)
    assert "not a whole adapter" in caplog.text
    assert await ask(pool, "good")
    assert 'medsweep_server_adapter_loads_total{outcome="failed"} 3.0' in sink.text().decode()
    assert engine.loads == ["good"]


async def test_what_was_put_in_its_place_is_served_and_the_old_one_finished(
    source_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsweep.serving.adapter_source.FRESH_S", 0.0)
    pool, engine, _ = make_pool(source_of("a"), 2)
    engine.may_answer.clear()
    old = asyncio.create_task(ask(pool, "a"))
    await until(lambda: engine.used["a#1"] == 1)
    (tmp_path / "new").mkdir()
    write_card(tmp_path / "new")
    (tmp_path / "a").rename(tmp_path / ".gone")
    (tmp_path / "new").rename(tmp_path / "a")
    new = asyncio.create_task(ask(pool, "a"))
    await until(lambda: engine.loads == ["a", "a"])
    engine.may_answer.set()
    assert (await old, await new) == ("a#1 a#1 a#1 ", "a#2 a#2 a#2 ")


async def test_under_load_with_clients_that_go(source_of: Any) -> None:
    names = [f"m{number}" for number in range(8)]
    pool, engine, sink = make_pool(source_of(" ".join(names)), 3)
    draw = random.Random(5)

    async def one() -> str:
        return await ask(pool, draw.choice([*names, "base", "m0", "m0"]))

    tasks = []
    for _ in range(400):
        tasks.append(asyncio.create_task(one()))
        if draw.random() < 0.25:
            draw.choice(tasks).cancel()
        if draw.random() < 0.5:
            await asyncio.sleep(0)
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    kinds = Counter(type(each).__name__ for each in ended)
    assert set(kinds) == {"str", "CancelledError"}
    assert kinds["str"] > 250
    await until(lambda: engine.used.total() == 0 and len(engine.loads) == len(engine.began))
    gauge = "medsweep_server_adapters_loaded"
    await until(lambda: f"{gauge} {float(len(engine.loaded))}" in sink.text().decode())
    assert len(engine.loaded) <= 3
    assert len(engine.loads) > 8  # some were evicted and came back
    for name in names:
        assert await asyncio.wait_for(ask(pool, name), 30)


@pytest.mark.parametrize("trained_on", [None, "another"])
async def test_an_adapter_of_other_weights_is_not_loaded(
    trained_on: str | None,
    source_of: Callable[..., AdapterSource],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = tmp_path / "weights"
    base.mkdir()
    (base / "model.safetensors").write_text("ours")
    source = source_of("good foreign")
    ours = base_sha256(base)

    def read(folder: Path, **_: bool) -> Adapter:
        trained = ours if folder.name == "good" else trained_on
        return Adapter(folder, "base", folder, "chatml", (), "0", trained)

    monkeypatch.setattr(module, "read_adapter", read)
    engine, metrics = CountingEngine(2), ServerMetrics([])
    pool = AdapterPool(engine, source, base, max_loaded=2, metrics=metrics, clock=MonotonicClock())
    with pytest.raises(Refused, match="'foreign' cannot be loaded"):
        await ask(pool, "foreign")
    assert "base_sha256" in caplog.text or "another model" in caplog.text
    assert await ask(pool, "good")
    assert engine.loads == ["good"]


async def test_links_below_the_root_are_not_followed(
    source_of: Callable[..., AdapterSource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write below the root would serve the files of others, or wait on a pipe."""
    source = source_of("linked piped")
    (tmp_path / "secret").write_text("of another tenant")
    (tmp_path / "linked" / "adapter_model.safetensors").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "piped" / "adapter_model.safetensors")
    pool, engine, _ = make_pool(source, 2)
    for name in ("linked", "piped"):
        with pytest.raises(Refused, match=f"'{name}' cannot be loaded"):
            await asyncio.wait_for(ask(pool, name), 60)
    assert caplog.text.count("not regular files: 'adapter_model.safetensors'") == 2
    assert not engine.began


@pytest.mark.parametrize("swap", ["content", "link"])
async def test_a_file_swapped_after_the_check_is_not_loaded(
    tmp_path: Path, swap: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The pool checks an adapter and the engine reads it later; a writer is faster than both."""
    files = {"adapter_model.safetensors": b"checked", "adapter_config.json": b"{}"}
    adapter_of(tmp_path / "one", files)
    weights = tmp_path / "one" / "adapter_model.safetensors"
    read: list[bytes] = []

    class SwappedEngine(CountingEngine):
        async def add_adapter(self, name: str, adapter: Adapter) -> None:
            if swap == "content":
                weights.write_bytes(b"swapped")
            else:  # to the same content, which may be replaced later
                weights.rename(tmp_path / "elsewhere")
                weights.symlink_to(tmp_path / "elsewhere")
            with verified_copy(adapter, LORA_FILES) as copy:
                read.append((copy / weights.name).read_bytes())
            await super().add_adapter(name, adapter)

    engine, metrics, clock = SwappedEngine(1), ServerMetrics([]), MonotonicClock()
    source = AdapterSource("base", {}, tmp_path, clock)
    pool = AdapterPool(engine, source, None, max_loaded=1, metrics=metrics, clock=clock)
    with pytest.raises(Refused, match="'one' cannot be loaded"):
        await ask(pool, "one")
    assert "changed or missing: adapter_model.safetensors" in caplog.text
    assert (read, engine.loads) == ([], [])


async def test_a_folder_cannot_forge_a_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.undo()
    evil = "\x1b[2J\nforged"
    folder = tmp_path / evil
    folder.mkdir()
    write_card(folder)
    (folder / "adapter_model.safetensors").write_text("weights")
    pool, _, _ = make_pool(AdapterSource("base", {}, tmp_path, MonotonicClock()), 1)
    with pytest.raises(Refused):
        await ask(pool, evil)
    assert r"\x1b[2J\nforged" in caplog.messages[0]
    assert caplog.messages[0].isprintable()
