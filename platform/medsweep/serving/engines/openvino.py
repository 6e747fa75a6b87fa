"""The `openvino` engine: OpenVINO GenAI's continuous batching, for machines without a GPU.

The weights are in 8 or 4 bits. OpenVINO applies one adapter to everything in a step: requests
of one name are answered together, continuously while nobody else waits; else names take turns.
What computes is a process of its own; why is said in `openvino_child`.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter
from medsweep.models.loading import LOCAL, refuse_code
from medsweep.models.wheels import GGUF_WHEELS
from medsweep.serving.engines.compatibility import ENGINE_QUANTIZATIONS, PACKAGES, installed
from medsweep.serving.engines.engine_thread import ThreadedEngine
from medsweep.serving.engines.low_rank import read_scale
from medsweep.serving.engines.openvino_process import OpenvinoProcess, cores_here
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.protocol import EngineSettings


class OpenvinoEngine(ThreadedEngine):
    """OpenVINO GenAI's pipeline, one step after the other.

    Args:
        settings: the model must have a GGUF file; quantization int8, int4, or `none` for the first
            of these. `dtype` is not used: OpenVINO takes what the CPU computes fastest.

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
        self._adapters: dict[str, tuple[str, float]] = {}  # file and scale
        self._loaded: set[str] = set()  # those that the process has
        self._commands: list[list[Any]] = []  # what the process is to be told next
        self._computing: dict[
            int, RequestState
        ] = {}  # by the number that the process knows them by
        self._requests = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        if settings.quantization == "none":
            # A sweep has to say which, so that its rows do; `serve` need not.
            settings = replace(settings, quantization=ENGINE_QUANTIZATIONS["openvino"][0])
        try:
            super().__init__(settings)
        except BaseException:
            self._reset()
            raise

    @property
    def pid(self) -> int | None:
        """Process id of what computes; None while there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the thread and the process; answers that are not finished fail."""
        super().close()
        self._reset()
        self._wake_reader.close()
        self._wake_writer.close()

    def _load_base(self, folder: Path) -> Any:
        from medsweep.serving.engines.openvino_ir import ir_folder

        self._ir = ir_folder(self._settings.model, self._settings.quantization, folder)
        self._start()  # it has its own packages to import meanwhile
        # Not AutoTokenizer: it imports torch, which takes seconds and is not needed here.
        from transformers import PreTrainedTokenizerFast

        refuse_code(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder, **LOCAL)

    def _start(self) -> OpenvinoProcess:
        self._process = OpenvinoProcess(
            self._ir, self._settings.max_batch_size, self._settings.cpus
        )
        return self._process

    def _read_adapter(self, adapter: Adapter) -> tuple[str, float]:
        # OpenVINO looks for the scale among the tensors, where PEFT has none.
        return str(adapter.folder / WEIGHTS_FILE), read_scale(adapter.folder)

    def _load_adapter(self, inner: str, files: tuple[str, float]) -> None:
        self._send_adapter(inner, *files)
        self._adapters[inner] = files

    def _unload_adapter(self, inner: str) -> None:
        del self._adapters[inner]
        self._loaded.discard(inner)
        self._commands.append(["drop", inner])

    def _on_thread(self) -> None:
        """OpenVINO has threads of its own, whose number is a property of the pipeline."""

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it has been rung often enough, or is closed
            self._wake_writer.send(b"!")

    def _reset(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None
        self._loaded, self._commands, self._computing = set(), [], {}

    def _live_process(self) -> OpenvinoProcess:
        """Return the process; a new one where it has died idle, or may have other cores now."""
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
            # Whoever comes meanwhile need not wait for the tokens of the others.
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
            self._running = new  # first: if the adapter cannot be used, they are told
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
        """Hand out the tokens of a step."""
        for number, tokens, over in reply["rows"]:
            state = self._computing.get(number)
            if state is None:
                continue  # it was stopped
            for token in tokens:
                if not state.done:
                    state.push(token)
            if over:
                del self._computing[number]
                if not state.done:
                    state.fail(StageError("OpenVINO has no room for so long a prompt and answer"))
        self._running = [state for state in self._running if not state.done]

    def _evict(self) -> None:
        """Stop the requests whose client has gone."""
        for number, state in list(self._computing.items()):
            if state.done:
                del self._computing[number]
                self._commands.append(["stop", number])
        self._running = [state for state in self._running if not state.done]

    def _activate(self, adapter: str | None) -> None:
        """Have the process compute with an adapter; it has no requests now."""
        if adapter is not None and adapter not in self._loaded:
            self._send_adapter(adapter, *self._adapters[adapter])
        self._commands.append(["use", adapter, bool(self._adapters)])

    def _send_adapter(self, adapter: str, file: str, scale: float) -> None:
        """Have the process read an adapter, and wait until it has.

        Raises:
            InputError: it cannot be read.
        """
        process = self._live_process()
        process.send([*self._commands, ["load", adapter, file, scale]])
        self._commands = []
        reply = process.receive()
        while "loaded" not in reply:
            self._push_tokens(reply)
            reply = process.receive()
        if reply["error"] is not None:
            raise InputError(f"{file}: OpenVINO cannot read it: {reply['error']}")
        self._loaded.add(adapter)


def _sampling(state: RequestState) -> list[float] | None:
    """Return temperature, share of probability to sample from and seed; None is greedy."""
    request = state.request
    if request.temperature == 0:
        return None
    seed = request.seed if request.seed is not None else secrets.randbits(32)
    return [request.temperature, request.top_p, seed]
