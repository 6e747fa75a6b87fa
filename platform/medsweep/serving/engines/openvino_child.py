"""OpenVINO's pipeline in a process of its own: `python -m medsweep.serving.engines.openvino_child`.

`ContinuousBatchingPipeline.step` holds Python's global lock for the whole step. In the server's
own process it would block the event loop: no request could arrive and no answer leave. This process
runs step after step, takes commands between two steps, and sends back the new tokens of all rows
together. It does not import torch, and it exits with its parent.
"""

from __future__ import annotations

import contextlib
import json
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

BATCHED_TOKENS = 512
"""Tokens per step, prompts included; a longer prompt is prefilled in chunks."""

CACHE_GIB = 1
"""Size of the KV cache, shared by all rows."""

FRAME_FILE = "openvino_lora.safetensors"
"""An adapter of zeros that names every layer that an adapter may change."""


class Child:
    """Runs the pipeline and executes the parent's commands, which are the public methods.

    Args:
        link: connection to the parent.
        folder: folder of the model in OpenVINO's format.
        rows: most rows in a batch.
        threads: CPU threads; None leaves the number to OpenVINO.
    """

    def __init__(self, link: Connection, folder: str, rows: int, threads: int | None) -> None:
        import openvino_genai

        self._genai: Any = openvino_genai
        self._link, self._folder, self._rows, self._threads = link, Path(folder), rows, threads
        self._pipeline: Any = None
        self._framed = False  # whether the pipeline accepts adapters
        self._adapters: dict[str, tuple[Any, float]] = {}
        self._active: str | None = None
        self._handles: dict[int, Any] = {}

    def run(self) -> None:
        """Run steps and commands until the parent has gone."""
        while True:
            while not self._busy() or self._link.poll():
                for name, *arguments in json.loads(self._link.recv_bytes()):
                    getattr(self, name)(*arguments)
            self._pipeline.step()
            self._send_tokens()

    def load(self, adapter: str, file: str, scale: float) -> None:
        """Read an adapter and report whether that worked.

        Args:
            adapter: name that later commands use.
            file: file of its tensors.
            scale: factor by which PEFT multiplies the product of its matrices.
        """
        try:
            self._adapters[adapter] = self._genai.Adapter(file), scale
        except RuntimeError as error:
            self._send({"loaded": adapter, "error": str(error)})
        else:
            self._send({"loaded": adapter, "error": None})

    def drop(self, adapter: str) -> None:
        """Forget an adapter."""
        self._adapters.pop(adapter, None)

    def use(self, adapter: str | None, framed: bool) -> None:
        """Switch to an adapter, or to the base model; no row may be running.

        Args:
            adapter: name of a loaded adapter; None is the base model.
            framed: whether the pipeline must accept adapters.
        """
        while self._busy():  # rows that were stopped
            self._pipeline.step()
        if self._pipeline is None or (adapter is not None and not self._framed):
            self._pipeline = None  # first, so that two are never in memory
            self._pipeline = self._open(framed)
        if adapter == self._active:
            return
        # Only `generate` sets the adapter; later steps keep it.
        chosen = [self._adapters[adapter]] if adapter else []
        settings = self._genai.GenerationConfig()
        settings.max_new_tokens, settings.ignore_eos = 1, True
        settings.adapters = self._genai.AdapterConfig(chosen)
        self._pipeline.generate([self._tensor([0])], [settings])
        self._active = adapter

    def add(
        self,
        row: int,
        prompt_ids: list[int],
        max_tokens: int,
        stop_ids: list[int],
        sampling: list[float] | None,
    ) -> None:
        """Add a row to the batch.

        Args:
            row: number of the row.
            prompt_ids: token ids of the prompt.
            max_tokens: most output tokens.
            stop_ids: ids of the tokens that end the answer.
            sampling: temperature, top_p and seed; None means greedy.
        """
        settings = self._genai.GenerationConfig()
        settings.max_new_tokens = max_tokens
        settings.stop_token_ids = set(stop_ids)
        settings.do_sample = sampling is not None
        if sampling is not None:
            settings.temperature, settings.top_p, seed = sampling
            settings.rng_seed = int(seed)
        self._handles[row] = self._pipeline.add_request(row, self._tensor(prompt_ids), settings)

    def stop(self, row: int) -> None:
        """Stop a row, unless it has finished."""
        handle = self._handles.pop(row, None)
        if handle is not None:
            handle.stop()

    def _busy(self) -> bool:
        return self._pipeline is not None and self._pipeline.has_non_finished_requests()

    def _send_tokens(self) -> None:
        """Send the new tokens of every row, and which rows have finished."""
        running = self._genai.GenerationStatus.RUNNING
        updates = []
        for row, handle in list(self._handles.items()):
            tokens: list[int] = []
            while handle.can_read():
                for output in handle.read().values():
                    tokens += output.generated_ids
            finished = handle.get_status() != running
            if finished:
                del self._handles[row]
            if tokens or finished:
                updates.append([row, tokens, finished])
        if updates:
            self._send({"rows": updates})

    def _open(self, framed: bool) -> Any:
        scheduler = self._genai.SchedulerConfig()
        scheduler.max_num_seqs = self._rows
        scheduler.max_num_batched_tokens = BATCHED_TOKENS
        scheduler.cache_size = CACHE_GIB
        scheduler.enable_prefix_caching = False  # cached keys are valid for one adapter only
        properties: dict[str, Any] = {}
        if self._threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        if framed:
            # This fixes the layers that adapters may change, not the adapters themselves.
            frame = self._genai.Adapter(str(self._folder / FRAME_FILE))
            mode = self._genai.AdapterConfig.Mode.MODE_DYNAMIC
            properties["adapters"] = self._genai.AdapterConfig([frame], mode)
        self._framed, self._active = framed, None
        pipeline = self._genai.ContinuousBatchingPipeline
        return pipeline(str(self._folder), scheduler, "CPU", properties)

    def _tensor(self, ids: list[int]) -> Any:
        import numpy

        return self._genai.openvino.Tensor(numpy.array([ids], dtype=numpy.int64))

    def _send(self, message: dict[str, Any]) -> None:
        self._link.send_bytes(json.dumps(message).encode())


def main() -> None:
    """Serve the parent through standard input, which is a socket."""
    folder, rows, threads = json.loads(sys.argv[1])
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent left
        Child(Connection(0), folder, rows, threads).run()


if __name__ == "__main__":
    main()
