"""OpenVINO's pipeline in a process of its own: `python -m medsweep.serving.engines.openvino_child`.

`ContinuousBatchingPipeline.step` holds Python's lock from its beginning to its end. In a server's
own process the event loop would stand still meanwhile: no request could come in, and no answer go
out. Here it computes step after step; what there is to do it is told between two of them, and it
gives back the new tokens of every row together. It imports no torch, and ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

BATCHED_TOKENS = 512
"""Tokens of one step, prompts included: longer prompts are taken in parts."""

CACHE_GIB = 1
"""KV cache of all rows together."""

FRAME_FILE = "openvino_lora.safetensors"
"""An adapter of zeros that names every layer of the model that another may change."""


class Child:
    """Does what it is told; the commands are the public methods.

    Args:
        link: to the parent.
        folder: of the model in OpenVINO's format.
        rows: rows that are answered together.
        threads: to compute with; None leaves it to OpenVINO.
    """

    def __init__(self, link: Connection, folder: str, rows: int, threads: int | None) -> None:
        import openvino_genai

        self._genai: Any = openvino_genai
        self._link, self._folder, self._rows, self._threads = link, Path(folder), rows, threads
        self._pipeline: Any = None
        self._framed = False  # whether the pipeline can have adapters
        self._adapters: dict[str, tuple[Any, float]] = {}
        self._active: str | None = None
        self._handles: dict[int, Any] = {}

    def run(self) -> None:
        """Compute and obey until the parent has gone."""
        while True:
            while not self._busy() or self._link.poll():
                for name, *arguments in json.loads(self._link.recv_bytes()):
                    getattr(self, name)(*arguments)
            self._pipeline.step()
            self._tell()

    def load(self, adapter: str, file: str, scale: float) -> None:
        """Read an adapter and say whether it can be used.

        Args:
            adapter: its name from now on.
            file: its tensors.
            scale: what PEFT multiplies their product by.
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
        """Compute with an adapter, or without one, from now on; no row may be under way.

        Args:
            adapter: its name.
            framed: whether other adapters are to be expected.
        """
        while self._busy():  # those that were stopped
            self._pipeline.step()
        if self._pipeline is None or (adapter is not None and not self._framed):
            self._pipeline = None  # first, so that there are never two
            self._pipeline = self._opened(framed)
        if adapter == self._active:
            return
        # Only `generate` sets the adapter; the steps that follow keep it.
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
        """Take up a row.

        Args:
            row: its number.
            prompt_ids: token ids of its prompt.
            max_tokens: longest answer.
            stop_ids: tokens that end it.
            sampling: temperature, share of probability to sample from, seed; None is greedy.
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
        """Give up a row, if it is not over yet."""
        handle = self._handles.pop(row, None)
        if handle is not None:
            handle.stop()

    def _busy(self) -> bool:
        return self._pipeline is not None and self._pipeline.has_non_finished_requests()

    def _tell(self) -> None:
        """Send the new tokens of every row, and which rows are over."""
        running = self._genai.GenerationStatus.RUNNING
        news = []
        for row, handle in list(self._handles.items()):
            tokens: list[int] = []
            while handle.can_read():
                for output in handle.read().values():
                    tokens += output.generated_ids
            over = handle.get_status() != running
            if over:
                del self._handles[row]
            if tokens or over:
                news.append([row, tokens, over])
        if news:
            self._send({"rows": news})

    def _opened(self, framed: bool) -> Any:
        scheduler = self._genai.SchedulerConfig()
        scheduler.max_num_seqs = self._rows
        scheduler.max_num_batched_tokens = BATCHED_TOKENS
        scheduler.cache_size = CACHE_GIB
        scheduler.enable_prefix_caching = False  # what it holds belongs to one adapter
        properties: dict[str, Any] = {}
        if self._threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        if framed:
            # The layers that adapters may change are fixed here; which adapters there are is not.
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
    """Serve the parent at the other end of standard input, which is a socket."""
    folder, rows, threads = json.loads(sys.argv[1])
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # it has gone
        Child(Connection(0), folder, rows, threads).run()


if __name__ == "__main__":
    main()
