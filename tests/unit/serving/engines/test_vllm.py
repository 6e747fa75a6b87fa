"""vLLM itself cannot run on these machines: a fake module stands at the import seam."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from medsweep.errors import EnvironmentFault, InputError, StageError, UnknownName
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.models.catalog import MODELS
from medsweep.serving.engines import vllm
from medsweep.serving.engines.vllm import VllmEngine
from medsweep.serving.protocol import EngineSettings, Generation
from support import adapter_of

BASE = "llama-3-8b"


def settings(adapter: Adapter, **fields: Any) -> EngineSettings:
    adapters = {"tuned": adapter}
    return EngineSettings(
        "vllm", MODELS[BASE], "bfloat16", max_batch_size=8, adapters=adapters, **fields
    )


class FakeTokenizer:
    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [1000 + number for number, _ in enumerate(tokens)]


class FakeAsyncLLMEngine:
    """Answers every request with two pieces, and remembers what it was asked."""

    def __init__(self, settings: Any) -> None:
        self.settings, self.asked, self.aborted, self.removed = settings, [], [], []
        self.last_reason = "stop"

    @classmethod
    def from_engine_args(cls, settings: Any) -> "FakeAsyncLLMEngine":
        return cls(settings)

    async def generate(
        self, prompt: Any, params: Any, request_id: str, lora_request: Any
    ) -> AsyncIterator[Any]:
        self.asked.append((prompt, params, request_id, lora_request))
        for text, ids, reason in (("It is", [5, 6], None), (" one.", [7], self.last_reason)):
            piece = SimpleNamespace(text=text, token_ids=ids, finish_reason=reason)
            yield SimpleNamespace(outputs=[piece])

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def remove_lora(self, number: int) -> None:
        self.removed.append(number)


@pytest.fixture
def adapter(tmp_path: Any) -> Adapter:
    files = {"adapter_model.safetensors": b"checked", "adapter_config.json": b"{}"}
    made = read_adapter(adapter_of(tmp_path / "adapter", files, BASE))
    return replace(made, base=tmp_path, stop_tokens=("<|eot_id|>",))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, adapter: Adapter) -> VllmEngine:
    import transformers

    fakes = {
        name: ModuleType(name) for name in ("vllm", "vllm.lora.request", "vllm.sampling_params")
    }
    fakes["vllm"].AsyncEngineArgs = SimpleNamespace  # type: ignore[attr-defined]
    fakes["vllm"].SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
    fakes["vllm"].AsyncLLMEngine = FakeAsyncLLMEngine  # type: ignore[attr-defined]
    fakes["vllm.lora.request"].LoRARequest = (  # type: ignore[attr-defined]
        lambda name, number, path: SimpleNamespace(name=name, lora_int_id=number, path=path)
    )
    fakes["vllm.sampling_params"].RequestOutputKind = SimpleNamespace(  # type: ignore[attr-defined]
        DELTA="delta"
    )
    monkeypatch.setattr(vllm, "importlib", SimpleNamespace(import_module=fakes.__getitem__))
    tokenizers = SimpleNamespace(from_pretrained=lambda _, **options: FakeTokenizer())
    monkeypatch.setattr(transformers, "AutoTokenizer", tokenizers)
    return VllmEngine(settings(adapter))


async def test_a_request_becomes_vllm_s(engine: VllmEngine, adapter: Adapter) -> None:
    request = Generation("tuned", None, "Why?", 7, 0.5, 0.9, ("END",), 3)
    pieces = [piece async for piece in engine.stream(request)]
    fake = engine._engine
    [(prompt, params, number, lora)] = fake.asked
    assert prompt == {"prompt_token_ids": [ord(letter) for letter in "Why?"]}
    assert vars(params) == {
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "stop_token_ids": [1000],
        "seed": 3,
        "output_kind": "delta",
    }
    assert (Path(lora.path) / "adapter_model.safetensors").read_bytes() == b"checked"
    assert fake.aborted == [number]
    assert [(piece.text, piece.output_tokens, piece.finish_reason) for piece in pieces] == [
        ("It is", 2, None),
        (" one.", 3, "stop"),
    ]
    assert {piece.prompt_tokens for piece in pieces} == {4}
    assert (fake.settings.max_num_seqs, fake.settings.dtype) == (8, "bfloat16")


async def test_a_client_that_goes_aborts_it(engine: VllmEngine) -> None:
    stream: Any = engine.stream(Generation(BASE, None, "Why?", 7))
    await anext(stream)
    assert engine._engine.asked[0][3] is None  # the base model has no adapter
    await stream.aclose()
    assert engine._engine.aborted == [engine._engine.asked[0][2]]


@pytest.mark.parametrize("reason", ["abort", "error"])
async def test_an_answer_that_vllm_gives_up_is_a_fault(engine: VllmEngine, reason: str) -> None:
    engine._engine.last_reason = reason
    with pytest.raises(StageError, match=f"vLLM ended the answer: {reason}"):
        async for _ in engine.stream(Generation(BASE, None, "Why?", 7)):
            pass


async def test_adapters_come_and_go(engine: VllmEngine, adapter: Adapter) -> None:
    await engine.add_adapter("second", adapter)
    assert await engine.models() == [BASE, "tuned", "second"]
    lora, _ = engine._loras[engine._served["second"].adapter or ""]
    await engine.remove_adapter("second")
    assert engine._engine.removed == [lora.lora_int_id]
    with pytest.raises(UnknownName):
        await engine.remove_adapter("second")
    await engine.check()


async def test_vllm_reads_a_copy_that_nobody_can_swap(engine: VllmEngine, adapter: Adapter) -> None:
    """vLLM reads the files when it likes, such as with the first request."""
    await engine.add_adapter("second", adapter)
    copies = [Path(lora.path) for lora, _ in engine._loras.values()]
    weights = adapter.folder / "adapter_model.safetensors"
    weights.write_bytes(b"swapped")
    assert [(copy / weights.name).read_bytes() for copy in copies] == [b"checked"] * 2
    with pytest.raises(StageError, match=r"changed or missing: adapter_model\.safetensors"):
        await engine.add_adapter("third", adapter)
    # A copy stays while an answer uses the adapter, and goes with the adapter.
    stream: Any = engine.stream(Generation("second", None, "Why?", 7))
    await anext(stream)
    removal = asyncio.create_task(engine.remove_adapter("second"))
    await asyncio.sleep(0)
    assert copies[1].exists()
    await stream.aclose()
    await removal
    assert [copy.exists() for copy in copies] == [True, False]
    engine._engine.shutdown = lambda: None
    engine.close()
    assert not copies[0].exists()


def test_without_vllm_it_is_refused(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EnvironmentFault, match="pip install 'medsweep.vllm.'"):
        VllmEngine(settings(adapter))


def test_quantized_weights_are_refused(adapter: Adapter) -> None:
    with pytest.raises(InputError, match="engine vllm has quantization none, not nf4"):
        VllmEngine(settings(adapter, quantization="nf4"))
