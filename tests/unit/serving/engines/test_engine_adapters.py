"""Adapters of engines that run: added, replaced and removed, on `generate` and on `continuous`."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from asking import TUNED, Asker, text
from medsweep.errors import InputError, StageError, UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.serving.protocol import Generation

from .conftest import BASE, ENGINES, engine_settings

pytestmark = pytest.mark.slow


async def test_an_adapter_comes_and_goes_while_another_answers(
    asker: Asker, tuned: Adapter, expected: list[str]
) -> None:
    engine = asker.engine
    stream: Any = engine.stream(asker.request(0))
    pieces = [await anext(stream)]
    await engine.add_adapter("second", tuned)
    assert await engine.models() == [BASE, TUNED, "second"]
    second = asyncio.create_task(asker.text(asker.request(1, "second")))
    pieces += [piece async for piece in stream]
    assert text(pieces).strip() == expected[0]
    assert (await second).strip() == expected[1]
    await engine.remove_adapter("second")
    assert await engine.models() == [BASE, TUNED]
    with pytest.raises(UnknownName):
        await asker.text(asker.request(1, "second"))
    assert (await asker.text(asker.request(2))).strip() == expected[2]


async def test_an_adapter_that_answers_is_removed_when_it_has(
    asker: Asker, tuned: Adapter, expected: list[str]
) -> None:
    await asker.engine.add_adapter("second", tuned)
    stream: Any = asker.engine.stream(asker.request(0, "second"))
    pieces = [await anext(stream)]
    removal = asyncio.create_task(asker.engine.remove_adapter("second"))
    await asyncio.sleep(0)
    assert await asker.engine.models() == [BASE, TUNED]  # nobody new may use it
    assert not removal.done()
    pieces += [piece async for piece in stream]
    await removal
    assert text(pieces).strip() == expected[0]


async def test_an_adapter_is_replaced_under_its_name(
    asker: Asker, tuned: Adapter, expected: list[str]
) -> None:
    before = asker.engine._served[TUNED].adapter
    await asker.engine.add_adapter(TUNED, tuned)
    assert asker.engine._served[TUNED].adapter != before
    assert (await asker.text(asker.request(0))).strip() == expected[0]


async def test_adapters_that_do_not_fit_are_refused(asker: Asker, tuned: Adapter) -> None:
    foreign = dataclasses.replace(tuned, model="standin-distilgpt2")
    with pytest.raises(InputError, match="made on standin-distilgpt2, and this engine serves"):
        await asker.engine.add_adapter("foreign", foreign)
    with pytest.raises(InputError, match="is the base model's name"):
        await asker.engine.add_adapter(BASE, tuned)
    for name in ("missing", BASE):
        with pytest.raises(UnknownName):
            await asker.engine.remove_adapter(name)


async def test_a_broken_adapter_leaves_the_others(
    asker: Asker, tuned: Adapter, tmp_path: Path, expected: list[str]
) -> None:
    with pytest.raises(Exception, match="adapter_config.json"):
        await asker.engine.add_adapter("broken", dataclasses.replace(tuned, folder=tmp_path))
    assert await asker.engine.models() == [BASE, TUNED]
    assert (await asker.text(asker.request(0))).strip() == expected[0]


@pytest.mark.parametrize("name", ENGINES)
async def test_without_an_adapter_and_closed(
    name: str, tuned: Adapter, questions: list[str]
) -> None:
    engine = ENGINES[name](engine_settings(name, base=tuned.base))
    assert await engine.models() == [BASE]
    await engine.check()
    await engine.add_adapter(TUNED, tuned)
    asker = Asker(engine, questions)
    base = await asker.text(asker.request(0, BASE))
    await engine.remove_adapter(TUNED)
    # Also after the last adapter has gone.
    assert await asker.text(asker.request(0, BASE)) == base
    await engine.add_adapter(TUNED, tuned)
    stream = engine.stream(Generation(TUNED, None, "Asthma is", 400))
    await anext(stream)
    await asyncio.to_thread(engine.close)
    with pytest.raises(StageError, match="closed"):
        async for _ in stream:
            pass
    with pytest.raises(StageError, match="closed"):
        await anext(engine.stream(Generation(BASE, None, "Asthma is", 3)))


@pytest.mark.parametrize("name", ENGINES)
def test_neither_base_nor_adapter(name: str) -> None:
    with pytest.raises(InputError, match="give the folder of its weights"):
        ENGINES[name](engine_settings(name))
