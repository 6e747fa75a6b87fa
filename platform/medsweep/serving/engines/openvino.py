"""The `openvino` engine: OpenVINO GenAI's continuous batching, for machines without a GPU.

The weights have 8 or 4 bits. OpenVINO applies one adapter to all rows of a step, so only requests
for the same model name share a batch. New ones join it while no other name waits; otherwise the
names take turns. The pipeline runs in a process of its own; `openvino_child` explains why.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter
from medsweep.finetune.adapter_copy import LORA_FILES, verified_copy
from medsweep.models.loading import LOCAL, refuse_code
from medsweep.models.wheels import GGUF_WHEELS
from medsweep.serving.engines.compatibility import ENGINE_QUANTIZATIONS, PACKAGES, installed
from medsweep.serving.engines.engine_thread import ThreadedEngine
from medsweep.serving.engines.low_rank import read_scale
from medsweep.serving.engines.openvino_process import OpenvinoProcess, cores_here
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.protocol import EngineSettings


@dataclass(frozen=True)
class _AdapterFile:
    """An adapter's weights for the pipeline's process, which reads them again if it was restarted.

    Attributes:
        adapter: the adapter.
        path: of a private copy of its weights.
        scale: factor of its matrices: OpenVINO expects it among the tensors, and PEFT keeps it in
            the configuration.
        copy: deletes the copy.
    """

    adapter: Adapter
    path: str
    scale: float
    copy: contextlib.ExitStack


class OpenvinoEngine(ThreadedEngine):
    """Schedules requests for OpenVINO GenAI's pipeline.

    Args:
        settings: the model must have a GGUF file. Quantization is int8 or int4; `none` means int8.
            `dtype` is ignored: OpenVINO chooses what the CPU computes fastest.

    Raises:
        EnvironmentFault: OpenVINO GenAI is not installed.
        InputError: a model without a GGUF file.
    """

    def __init__(self, settings: EngineSettings) -> None:
        if settings.model.name not in GGUF_WHEELS:
            raise InputError(
                f"engine openvino reads weights from GGUF, and {settings.model.name} has none; "
                f"it serves {', '.join(GGUF_WHEELS)}"
            )
        if not installed(PACKAGES["openvino"]):
            raise EnvironmentFault(
                "engine openvino needs OpenVINO GenAI: pip install 'medsweep[openvino]'"
            )
        self._process: OpenvinoProcess | None = None
        self._adapters: dict[str, _AdapterFile] = {}
        self._loaded: set[str] = set()  # adapters that the process holds
        self._commands: list[list[Any]] = []  # to send to the process next
        self._computing: dict[int, RequestState] = {}  # by the row's number in the process
        self._requests = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        if settings.quantization == "none":
            # A sweep must name the quantization, because its results record it; `serve` need not.
            settings = replace(settings, quantization=ENGINE_QUANTIZATIONS["openvino"][0])
        try:
            super().__init__(settings)
        except BaseException:
            self._reset()
            raise

    @property
    def pid(self) -> int | None:
        """Id of the pipeline's process; None while there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """Stop the thread and the process; unfinished requests fail."""
        super().close()
        self._reset()
        for each in self._adapters.values():
            each.copy.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _load_base(self, folder: Path) -> Any:
        from medsweep.serving.engines.openvino_ir import ir_folder

        self._ir = ir_folder(self._settings.model, self._settings.quantization, folder)
        self._start()  # now, so that it imports its packages meanwhile
        # Not AutoTokenizer: it imports torch, which takes seconds and is not needed here.
        from transformers import PreTrainedTokenizerFast

        refuse_code(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder, **LOCAL)

    def _start(self) -> OpenvinoProcess:
        self._process = OpenvinoProcess(
            self._ir, self._settings.max_batch_size, self._settings.cpus
        )
        return self._process

    def _read_adapter(self, adapter: Adapter) -> _AdapterFile:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(verified_copy(adapter, LORA_FILES))
            scale = read_scale(folder)
            return _AdapterFile(adapter, str(folder / WEIGHTS_FILE), scale, stack.pop_all())

    def _load_adapter(self, inner: str, files: _AdapterFile) -> None:
        try:
            self._send_adapter(inner, files)
        except BaseException:
            files.copy.close()
            raise
        self._adapters[inner] = files

    def _unload_adapter(self, inner: str) -> None:
        self._adapters.pop(inner).copy.close()
        self._loaded.discard(inner)
        self._commands.append(["drop", inner])

    def _on_thread(self) -> None:
        """Nothing to do: OpenVINO's thread count is a property of the pipeline."""

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # the socket is full, so a wake-up is due, or closed
            self._wake_writer.send(b"!")

    def _reset(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None
        self._loaded, self._commands, self._computing = set(), [], {}

    def _live_process(self) -> OpenvinoProcess:
        """Return the process; a new one if it died while idle or the allowed cores changed."""
        process = self._process
        idle = not self._computing
        if process is not None and idle and not (process.alive and process.cores == cores_here()):
            self._reset()
        return self._process or self._start()

    def _step(self) -> None:
        self._waiting.discard(lambda state: state.done)
        self._evict()
        process = self._live_process()
        self._admit()
        if self._commands:
            process.send(self._commands)
            self._commands = []
        if self._computing:
            # A new request wakes this up, so that it need not wait for the next tokens.
            ready = wait([process.link, self._wake_reader])
            if self._wake_reader in ready:
                self._wake_reader.recv(4096)
            if process.link in ready:
                self._push_tokens(process.receive())

    def _admit(self) -> None:
        new: list[RequestState] = []
        room = self._settings.max_batch_size - len(self._running)
        if not self._running:
            new = self._waiting.take_alike(room, lambda state: state.adapter)
            self._running = new  # first: if the adapter cannot be used, these requests fail
            if new:
                self._activate(new[0].adapter)
        elif room and self._waiting.only(self._running[0].adapter):
            new = self._waiting.take(room)
            self._running = self._running + new
        for state in new:
            state.begin(len(self._running))
            self._requests += 1
            self._computing[self._requests] = state
            limits = state.request.max_tokens, sorted(state.stop_ids)
            self._commands.append(
                ["add", self._requests, state.prompt_ids, *limits, _sampling(state)]
            )

    def _push_tokens(self, reply: dict[str, Any]) -> None:
        """Push the tokens of a step to their requests."""
        for number, tokens, finished in reply["rows"]:
            state = self._computing.get(number)
            if state is None:
                continue  # it was stopped
            for token in tokens:
                if not state.done:
                    state.push(token)
            if finished:
                del self._computing[number]
                if not state.done:
                    state.fail(
                        StageError("the prompt and its answer do not fit OpenVINO's KV cache")
                    )
        self._running = [state for state in self._running if not state.done]

    def _evict(self) -> None:
        """Stop the rows of requests that are done, such as those of clients that left."""
        for number, state in list(self._computing.items()):
            if state.done:
                del self._computing[number]
                self._commands.append(["stop", number])
        self._running = [state for state in self._running if not state.done]

    def _activate(self, adapter: str | None) -> None:
        """Switch the process to an adapter; it has no rows now."""
        if adapter is not None and adapter not in self._loaded:
            self._send_adapter(adapter, self._adapters[adapter])
        self._commands.append(["use", adapter, bool(self._adapters)])

    def _send_adapter(self, adapter: str, files: _AdapterFile) -> None:
        """Have the process read an adapter and wait until it has.

        Raises:
            InputError: OpenVINO cannot read the adapter.
        """
        process = self._live_process()
        process.send([*self._commands, ["load", adapter, files.path, files.scale]])
        self._commands = []
        reply = process.receive()
        while "loaded" not in reply:
            self._push_tokens(reply)
            reply = process.receive()
        if reply["error"] is not None:
            raise InputError(
                f"{files.adapter.folder / WEIGHTS_FILE}: OpenVINO cannot read it: {reply['error']}"
            )
        self._loaded.add(adapter)


def _sampling(state: RequestState) -> list[float] | None:
    """Return temperature, top_p and seed; None means greedy."""
    request = state.request
    if request.temperature == 0:
        return None
    seed = request.seed if request.seed is not None else secrets.randbits(32)
    return [request.temperature, request.top_p, seed]
