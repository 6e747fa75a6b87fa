"""The `openvino` engine: refusals everywhere, SmolLM2 itself where the extra is installed."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answering import until
from asking import Asker, batch_sizes, text
from medsweep.cluster.cpu_pinning import take_cpus
from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter, read_adapter
from medsweep.finetune.adapter_copy import LORA_FILES
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.metrics.quality import score_and_count
from medsweep.models.cache import file_sha256
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines.openvino import OpenvinoEngine
from medsweep.serving.protocol import EngineSettings
from support import package

MODEL = "smollm2-135m"


def settings(model: str, base: Path, **adapters: Adapter) -> EngineSettings:
    return EngineSettings("openvino", MODELS[model], "float32", "int8", 4, 2, base, adapters)


def test_a_model_without_a_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="llama-3-8b has none; it serves smollm2-135m"):
        OpenvinoEngine(settings("llama-3-8b", tmp_path))


def test_without_openvino_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(EnvironmentFault, match="pip install 'medsweep.openvino.'"):
        OpenvinoEngine(settings(MODEL, tmp_path))


@pytest.fixture(scope="module")
def folder() -> Path:
    package("openvino_genai")
    return fetch_weights(identify(MODELS[MODEL], []))


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """An adapter with weights drawn at random, large enough to change what is said."""
    import torch
    from transformers import AutoModelForCausalLM

    spec, made = MODELS[MODEL], tmp_path_factory.mktemp("adapters") / "one"
    torch.manual_seed(1)
    model = add_lora(
        AutoModelForCausalLM.from_pretrained(folder),
        rank=4,
        alpha=8,
        dropout=0.0,
        targets=spec.lora_targets,
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    card = {"model": MODEL, "base": str(folder), "base_sha256": "0", "template": spec.template}
    save_adapter(
        made,
        model,
        card={**card, "stop_tokens": list(spec.stop_tokens)},
        epochs=[{"epoch": 1}],
        provenance={},
    )
    return read_adapter(made)


@pytest.fixture(scope="module")
def asker(folder: Path, adapter: Adapter) -> Iterator[Asker]:
    questions = ["What is asthma?", "What is gout and how is it treated?", "What is anemia?"]
    engine = OpenvinoEngine(settings(MODEL, folder, one=adapter))
    yield Asker(engine, questions)
    engine.close()


@pytest.mark.slow
def test_its_tokens_are_those_of_the_other_engines(asker: Asker, folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), asker.engine._tokenizer
    for said in (
        "What is gout?",
        " 5 mg/kg,  twice\n\n",
        "naïve · 痛风 · 👩‍⚕️",
        "<|im_start|>user\nHi<|im_end|>",
    ):
        ids = theirs(said, add_special_tokens=False)["input_ids"]
        assert ours(said, add_special_tokens=False)["input_ids"] == ids
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(
            ids, skip_special_tokens=True
        )


@pytest.mark.slow
async def test_names_that_wait_together_are_answered_as_alone(asker: Asker) -> None:
    ask = [asker.request(n, model, max_tokens=24) for n in range(3) for model in ("one", MODEL)]
    answers = await asker.together(ask)
    assert batch_sizes(answers) == [3] * 6  # each name by itself
    said = [text(pieces) for pieces in answers]
    assert said[::2] != said[1::2]  # the adapter is really applied
    # Not word for word: what is rounded to 8 bits on the way depends on the batch.
    alone = [await asker.text(request) for request in ask[1::2]]
    likeness = [score_and_count(*pair)[0].token_f1 for pair in zip(said[1::2], alone, strict=True)]
    assert max(likeness) > 0.6
    assert "asthma" in said[1].lower()


@pytest.mark.slow
async def test_an_adapter_that_came_later_answers_as_the_first(
    asker: Asker, adapter: Adapter
) -> None:
    await asker.engine.add_adapter("second", adapter)
    said = await asker.text(asker.request(0, "second", max_tokens=12))
    assert said == await asker.text(asker.request(0, "one", max_tokens=12))
    await asker.engine.remove_adapter("second")
    assert await asker.engine.models() == [MODEL, "one"]


@pytest.mark.slow
async def test_a_client_that_goes_frees_its_place(asker: Asker) -> None:
    stream: Any = asker.engine.stream(asker.request(0, MODEL, max_tokens=2000))
    await anext(stream)
    await stream.aclose()
    # Another name is answered only when nobody is left under the first.
    pieces = await asker.deltas(asker.request(1, "one", max_tokens=5))
    assert pieces[-1].output_tokens == 5
    assert batch_sizes([pieces]) == [1]
    await asker.engine.check()


@pytest.mark.slow
async def test_a_seed_repeats_the_sample(asker: Asker) -> None:
    sampled = {"max_tokens": 16, "temperature": 1, "top_p": 0.9}
    said = [await asker.text(asker.request(0, MODEL, seed=seed, **sampled)) for seed in (5, 5, 6)]
    assert said[0] == said[1] != said[2]


@pytest.mark.slow
async def test_a_process_that_dies_fails_its_answers_and_no_later_one(
    asker: Asker, adapter: Adapter
) -> None:
    stream: Any = asker.engine.stream(asker.request(0, "one", max_tokens=2000))
    await anext(stream)
    os.kill(asker.engine.pid, signal.SIGSTOP)  # the answer does not end before it dies
    # The base model's request waits for its turn, and is answered by the next process.
    waits = asyncio.create_task(asker.deltas(asker.request(1, MODEL, max_tokens=5)))
    await until(lambda: bool(asker.engine._waiting))
    os.kill(asker.engine.pid, signal.SIGSEGV)
    os.kill(asker.engine.pid, signal.SIGCONT)
    with pytest.raises(StageError, match="ended with exit code -11"):
        async for _ in stream:
            pass
    assert (await waits)[-1].output_tokens == 5
    before = await asker.text(asker.request(0, "one", max_tokens=5))
    # The new process reads the adapter again: the copy that was checked, not what is there now.
    weights = adapter.folder / WEIGHTS_FILE
    checked = weights.read_bytes()
    weights.write_bytes(b"swapped")
    # One that dies while nobody asks is nobody's failure.
    pid = asker.engine.pid
    os.kill(pid, signal.SIGKILL)
    while asker.engine.pid in (pid, None):  # another one is started at once
        await asyncio.sleep(0.01)
    assert await asker.text(asker.request(0, "one", max_tokens=5)) == before
    weights.write_bytes(checked)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
async def test_what_computes_keeps_to_the_cores_that_the_engine_is_given(asker: Asker) -> None:
    import torch

    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    try:
        granted = take_cpus(1)
        await asker.engine.check()
        assert os.sched_getaffinity(asker.engine.pid) == set(granted.cores)
    finally:
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task), cores)
        torch.set_num_threads(threads)


@pytest.mark.slow
async def test_an_adapter_that_cannot_be_read_leaves_the_others(
    asker: Asker, adapter: Adapter, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 4}')
    (tmp_path / "adapter_model.safetensors").write_text("not tensors")
    running = asyncio.create_task(asker.text(asker.request(0, "one", max_tokens=12)))
    hashes = {name: file_sha256(tmp_path / name) for name in LORA_FILES}
    broken = replace(adapter, folder=tmp_path, files=hashes, sha256=hashes[WEIGHTS_FILE])
    with pytest.raises(InputError, match="engine openvino cannot read it"):
        await asker.engine.add_adapter("broken", broken)
    assert await running == await asker.text(asker.request(0, "one", max_tokens=12))
