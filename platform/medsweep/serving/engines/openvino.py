"""The `openvino` engine: OpenVINO GenAI's continuous batching, for machines without a GPU.

The weights are the GGUF file's, in 4 bits. OpenVINO applies one adapter to everything in a step:
rows of one name are answered together, continuously while nobody else waits; else names take turns.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault, InputError
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import GGUF_WHEELS
from medsweep.serving.engines.row import Row
from medsweep.serving.engines.threaded import ThreadedEngine

BATCHED_TOKENS = 512
"""Tokens of one step, prompts included: longer prompts are taken in parts."""

CACHE_GIB = 1
"""KV cache of all rows together."""


class OpenvinoEngine(ThreadedEngine):
    """OpenVINO GenAI's pipeline, one step after the other.

    Args:
        spec: the base model's entry in the catalogue; one that has a GGUF file.
        adapters: adapters by the name that requests use; all of the same base.
        base: folder of the base model's tokenizer; None takes what the adapters were made on.
        dtype: not used; OpenVINO computes as the CPU does it fastest.
        quantization: of the weights: int4; `none` takes them as the file has them: in int4.
        max_batch_size: rows that are answered together.
        cpus: threads to compute with; None leaves it to OpenVINO.

    Raises:
        EnvironmentFault: OpenVINO GenAI is not installed.
        InputError: a model without a GGUF file.
    """

    def __init__(
        self,
        spec: ModelSpec,
        adapters: dict[str, Adapter],
        *,
        base: Path | None,
        dtype: str,
        quantization: str,
        max_batch_size: int,
        cpus: int | None,
    ) -> None:
        if spec.name not in GGUF_WHEELS:
            raise InputError(
                f"engine openvino reads weights from GGUF, and {spec.name} has none; "
                f"it serves {', '.join(GGUF_WHEELS)}"
            )
        try:
            import openvino_genai
        except ImportError:
            raise EnvironmentFault(
                "engine openvino needs OpenVINO GenAI: pip install 'medsweep[openvino]'"
            ) from None
        self._genai: Any = openvino_genai
        self._pipeline: Any = None
        self._registered: list[tuple[Any, float]] = []
        self._adapters: dict[str, tuple[Any, float]] = {}
        self._active: str | None = None
        self._handles: dict[Row, Any] = {}
        self._requests = 0
        super().__init__(
            "openvino",
            spec,
            adapters,
            base=base,
            # A sweep has to say int4, so that its rows do; whoever only serves need not.
            quantization="int4" if quantization == "none" else quantization,
            max_batch_size=max_batch_size,
            cpus=cpus,
        )

    def _load(self, folder: Path) -> Any:
        from transformers import AutoTokenizer

        from medsweep.serving.engines.openvino_ir import ir_folder

        self._ir = ir_folder(self._spec)
        return AutoTokenizer.from_pretrained(folder)

    def _read(self, adapter: Adapter) -> tuple[Any, float]:
        config = json.loads((adapter.folder / "adapter_config.json").read_text())
        # PEFT keeps the scale in its configuration, OpenVINO looks for it among the tensors.
        scale = config["lora_alpha"] / config["r"]
        return self._genai.Adapter(str(adapter.folder / WEIGHTS_FILE)), scale

    def _put_on(self, inner: str, files: tuple[Any, float]) -> None:
        self._adapters[inner] = files

    def _take_off(self, inner: str) -> None:
        del self._adapters[inner]

    def _on_thread(self) -> None:
        """OpenVINO has threads of its own, whose number is a property of the pipeline."""

    def _reset(self) -> None:
        self._pipeline, self._handles = None, {}

    def _step(self) -> None:
        self._queue.discard(lambda row: row.done)
        self._join()
        if self._handles:
            self._pipeline.step()
            for row, handle in self._handles.items():
                while handle.can_read():
                    for output in handle.read().values():
                        self._hand_out(row, output.generated_ids)
        self._leave()

    def _join(self) -> None:
        new: list[Row] = []
        room = self._max_batch_size - len(self._rows)
        if not self._rows:
            new = self._queue.take_alike(room, lambda row: row.adapter)
            if new:
                self._rows = new
                self._activate(new[0].adapter)
        elif room and self._queue.only(self._rows[0].adapter):
            new = self._queue.take(room)
            self._rows = self._rows + new
        for row in new:
            row.begin(len(self._rows))
            self._requests += 1
            ids = self._genai.openvino.Tensor(_row_of(row.prompt_ids))
            settings = self._settings(row)
            self._handles[row] = self._pipeline.add_request(self._requests, ids, settings)

    def _hand_out(self, row: Row, tokens: list[int]) -> None:
        for token in tokens:
            if not row.done:
                row.push(token)

    def _leave(self) -> None:
        for row in [row for row in self._rows if row.done]:
            self._handles.pop(row).stop()
        self._rows = [row for row in self._rows if not row.done]
        if not self._rows and self._pipeline is not None:
            while self._pipeline.has_non_finished_requests():  # those that were stopped
                self._pipeline.step()

    def _activate(self, adapter: str | None) -> None:
        """Let the pipeline, which has no requests now, compute with an adapter."""
        missing = adapter is not None and self._adapters[adapter] not in self._registered
        if self._pipeline is None or missing:
            # A pipeline takes only the adapters that it was opened with.
            self._registered, self._active = list(self._adapters.values()), None
            self._pipeline = self._open_pipeline(self._registered)
        if adapter == self._active:
            return
        # Only `generate` sets the adapter; the steps that follow keep it.
        chosen = [self._adapters[adapter]] if adapter else []
        settings = self._genai.GenerationConfig()
        settings.max_new_tokens, settings.ignore_eos = 1, True
        settings.adapters = self._genai.AdapterConfig(chosen)
        self._pipeline.generate([self._genai.openvino.Tensor(_row_of([0]))], [settings])
        self._active = adapter

    def _open_pipeline(self, adapters: list[tuple[Any, float]]) -> Any:
        scheduler = self._genai.SchedulerConfig()
        scheduler.max_num_seqs = self._max_batch_size
        scheduler.max_num_batched_tokens = BATCHED_TOKENS
        scheduler.cache_size = CACHE_GIB
        scheduler.enable_prefix_caching = False  # what it holds belongs to one adapter
        properties: dict[str, Any] = {}
        if self._cpus is not None:
            properties["INFERENCE_NUM_THREADS"] = self._cpus
        if adapters:
            mode = self._genai.AdapterConfig.Mode.MODE_DYNAMIC
            properties["adapters"] = self._genai.AdapterConfig(adapters, mode)
        return self._genai.ContinuousBatchingPipeline(str(self._ir), scheduler, "CPU", properties)

    def _settings(self, row: Row) -> Any:
        request = row.request
        settings = self._genai.GenerationConfig()
        settings.max_new_tokens = request.max_tokens
        settings.ignore_eos = True  # the row knows its stop tokens, and is stopped
        settings.do_sample = request.temperature > 0
        if settings.do_sample:
            settings.temperature, settings.top_p = request.temperature, request.top_p
            seed = request.seed if request.seed is not None else secrets.randbits(32)
            settings.rng_seed = seed
        return settings


def _row_of(ids: list[int]) -> Any:
    import numpy

    return numpy.array([ids], dtype=numpy.int64)
