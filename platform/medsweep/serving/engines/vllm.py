"""The `vllm` engine: vLLM's own asynchronous engine, for GPUs that it supports.

vLLM does the batching and applies the adapters; this module translates MedSweep's requests and
vLLM's outputs. It is thin on purpose: the tests run it with a fake module only.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count
from typing import Any

from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import Adapter
from medsweep.finetune.adapter_copy import LORA_FILES, verified_copy
from medsweep.models.loading import check_model_folder, load_tokenizer
from medsweep.serving.engines.compatibility import wrong_quantization
from medsweep.serving.engines.engine_thread import CHECK_PROMPT
from medsweep.serving.engines.model_names import ModelNames, ServedModel, base_folder
from medsweep.serving.protocol import Delta, EngineSettings, Generation

MAX_LORA_RANK = 64
MAX_LORAS = 8
"""Most adapters in one forward pass; vLLM itself swaps in others."""


class VllmEngine:
    """vLLM as an `Engine`.

    Args:
        settings: with quantization none. `cpus` is not used: vLLM computes on the GPU.

    Raises:
        EnvironmentFault: vLLM is not installed.
    """

    def __init__(self, settings: EngineSettings) -> None:
        folder, spec = base_folder(settings), settings.model
        refused = wrong_quantization("vllm", settings.quantization)
        if refused:
            raise InputError(refused)
        try:
            self._vllm: Any = importlib.import_module("vllm")
            self._lora: Any = importlib.import_module("vllm.lora.request")
            sampling: Any = importlib.import_module("vllm.sampling_params")
        except ImportError as error:
            raise EnvironmentFault(
                f"engine vllm needs vLLM ({error.name} is missing): pip install 'medsweep[vllm]'"
            ) from None
        self._delta_output = sampling.RequestOutputKind.DELTA
        self._base_name = spec.name
        self._served = ModelNames(spec, load_tokenizer(folder))
        self._loras: dict[str, tuple[Any, ExitStack]] = {}  # with the copy that vLLM reads
        self._numbers = count(1)
        for name, adapter in settings.adapters.items():
            self._put(name, adapter, self._copy(adapter))
        check_model_folder(folder)
        arguments = self._vllm.AsyncEngineArgs(
            model=str(folder),
            trust_remote_code=False,
            dtype=settings.dtype,
            max_num_seqs=settings.max_batch_size,
            max_model_len=spec.context_length,
            enable_lora=True,
            max_loras=MAX_LORAS,
            max_lora_rank=MAX_LORA_RANK,
        )
        self._engine = self._vllm.AsyncLLMEngine.from_engine_args(arguments)

    async def models(self) -> list[str]:
        """Return the base model's name, then the adapters'."""
        return self._served.names()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer.

        Raises:
            StageError: vLLM ended the answer early.
        """
        served = self._served[request.model]
        number, tokens = str(next(self._numbers)), 0
        served.users += 1  # first, so that the adapter stays while the prompt is tokenized
        try:
            ids = await self._served.prompt_ids(request)
            async for output in self._engine.generate(
                {"prompt_token_ids": ids},
                self._sampling(request, served),
                number,
                lora_request=self._loras.get(served.adapter or "", (None,))[0],
            ):
                piece = output.outputs[0]
                tokens += len(piece.token_ids)
                if piece.finish_reason not in (None, "stop", "length"):
                    raise StageError(f"vLLM ended the answer: {piece.finish_reason}")
                yield Delta(piece.text, tokens, len(ids), piece.finish_reason)
        finally:
            await self._engine.abort(number)
            served.release()

    def _sampling(self, request: Generation, served: ServedModel) -> Any:
        return self._vllm.SamplingParams(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=list(request.stop),
            stop_token_ids=sorted(served.stop_ids),
            seed=request.seed,
            output_kind=self._delta_output,
        )

    async def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Register an adapter under a name; vLLM reads its files with the first request.

        Raises:
            InputError: the adapter is of another base model, or the name is the base's.
            StageError: its files are not those that were saved.
        """
        self._served.refuse_if_foreign(name, adapter)
        self._put(name, adapter, await asyncio.to_thread(self._copy, adapter))

    async def remove_adapter(self, name: str) -> None:
        """Remove an adapter as soon as no request uses it.

        Raises:
            UnknownName: no adapter of that name is loaded.
        """
        served = self._served.pop(name)
        await served.wait_unused()
        lora, copy = self._loras.pop(served.adapter or "")
        with copy:
            await self._engine.remove_lora(lora.lora_int_id)

    async def check(self) -> None:
        """Generate one token.

        Raises:
            StageError: the engine does not generate.
        """
        try:
            async for _ in self.stream(Generation(self._base_name, None, CHECK_PROMPT, 1)):
                pass
        except Exception as error:
            raise StageError(f"the engine does not generate: {type(error).__name__}") from error

    def close(self) -> None:
        """Stop vLLM's engine."""
        self._engine.shutdown()
        for _, copy in self._loras.values():
            copy.close()

    def _copy(self, adapter: Adapter) -> tuple[str, ExitStack]:
        """Return the folder of a copy, which vLLM may read at any time, and what deletes it."""
        with ExitStack() as stack:
            folder = stack.enter_context(verified_copy(adapter, LORA_FILES))
            return str(folder), stack.pop_all()

    def _put(self, name: str, adapter: Adapter, copied: tuple[str, ExitStack]) -> None:
        folder, copy = copied
        inner = self._served.new_inner()
        lora = self._lora.LoRARequest(inner, next(self._numbers), folder)
        self._served.put(name, inner, adapter)
        self._loras[inner] = lora, copy
