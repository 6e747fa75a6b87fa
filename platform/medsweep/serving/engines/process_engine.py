"""The base class of engines whose model is computed in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
from abc import abstractmethod
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter
from medsweep.finetune.adapter_copy import LORA_FILES, verified_copy
from medsweep.serving.engines.child_process import ChildProcess, cores_here
from medsweep.serving.engines.engine_thread import CLOSED, ThreadedEngine
from medsweep.serving.engines.low_rank import read_rank, read_scale
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.protocol import EngineDied, EngineSettings

NO_START = "the engine does not start; its log says why"

LOG = logging.getLogger("medsweep.serving")


@dataclass(frozen=True)
class AdapterFile:
    """An adapter for the process, which reads it again whenever it is started again.

    Attributes:
        adapter: the adapter.
        path: of a private copy of its weights.
        rank: of its matrices.
        scale: factor of its matrices.
        copy: deletes the copy.
    """

    adapter: Adapter
    path: str
    rank: int
    scale: float
    copy: contextlib.ExitStack


class ProcessEngine(ThreadedEngine):
    """Schedules requests for a process, which takes commands between two steps.

    If the process dies, running requests fail and it is started again at once, with its adapters.
    Requests that arrive meanwhile wait. If it cannot be started, or dies before its first token,
    they fail, and each later request tries again.

    Args:
        settings: settings of the engine.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._process: ChildProcess | None = None
        self._starting: ChildProcess | None = None
        self._fault: str | None = None  # written by the thread and when the process ends
        self._closing = False
        self._proven = False  # whether the process has computed a token
        self._starts = 0
        self._adapters: dict[str, AdapterFile] = {}
        self._loaded: set[str] = set()  # adapters that the process holds
        self._commands: list[list[Any]] = []  # to send to the process next
        self._computing: dict[int, RequestState] = {}  # by the row's number in the process
        self._requests = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        try:
            super().__init__(settings)
        except BaseException:
            self._closing = True
            self._release()
            raise

    @abstractmethod
    def _open_process(self) -> ChildProcess:
        """Start the process."""

    def _await_ready(self, process: ChildProcess) -> None:
        """Wait until the process takes commands.

        Raises:
            StageError: it ended before that.
        """

    @abstractmethod
    def _admit(self) -> None:
        """Take waiting requests and append the commands that begin them."""

    @property
    def pid(self) -> int | None:
        """Id of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def details(self) -> dict[str, Any]:
        """Return the settings that the process runs with, and how often it was started."""
        return {"starts": self._starts}

    def fault(self) -> str | None:
        """Return why the engine cannot answer now; None if it can."""
        return self._fault or super().fault()

    def close(self) -> None:
        """Stop the thread and the process; unfinished requests fail."""
        self._closing = True
        starting = self._starting  # the thread may forget it at any moment
        if starting is not None:
            starting.kill()  # it may take long
        super().close()
        self._release()

    def _release(self) -> None:
        """End the process and let go of all that was kept for it."""
        self._discard()
        for each in self._adapters.values():
            each.copy.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _start(self) -> ChildProcess:
        """Start the process, and have it read the adapters that are loaded.

        Raises:
            StageError: it does not start.
        """
        self._starts += 1
        self._proven = False
        self._fault = self._fault or "the engine is starting"
        try:
            self._starting = process = self._open_process()
            try:
                self._await_ready(process)
            except BaseException:
                process.close()
                raise
            finally:
                self._starting = None
            self._process = process
            for inner in self._adapters:
                self._send_adapter(inner)
        except Exception as error:
            self._discard()
            self._fault = NO_START
            LOG.error("engine %s does not start: %s", self._settings.engine, error)
            raise
        self._fault = None
        return process

    def _exited(self, process: ChildProcess) -> None:
        """Note at once that the process has ended, and have the thread start another."""
        if process is self._process and not self._closing:
            self._fault = f"{process.end}; another one is being started"
            LOG.error("%s", self._fault)
            with contextlib.suppress(StageError):  # the engine has been closed meanwhile
                self._submit(self._restart, between_tokens=True)

    def _restart(self) -> None:
        if self._closing or (self._process is not None and self._process.alive):
            return
        if self._process is not None:
            self._fail_running(self._process.died())
            self._running = []
            self._discard()
        try:
            if not self._proven:
                self._fault = NO_START
                raise EngineDied(NO_START)
            self._start()
        except Exception:  # noqa: BLE001 it is logged
            self._running += self._waiting.take(len(self._waiting))
            self._fail_running(EngineDied(NO_START))
            self._running = []

    def _live_process(self) -> ChildProcess:
        """Return the process; a new one if there is none."""
        process = self._process
        if process is None:
            return self._start()
        if process.cores != cores_here():
            self._move(process)
        return self._process or self._start()

    def _move(self, process: ChildProcess) -> None:
        """Have the process run on the cores of this thread, which were changed."""
        process.pin(cores_here())

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # the socket is full, so a wake-up is due, or closed
            self._wake_writer.send(b"!")

    def _reset(self) -> None:
        self._discard()
        self._submit(self._restart, between_tokens=True)

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()
        self._loaded, self._commands, self._computing = set(), [], {}

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

    def _begin(self, states: list[RequestState]) -> None:
        """Have the process compute the answers of these requests, beside those of `_running`."""
        self._running = self._running + states
        for state in states:
            state.begin(len(self._running))
            self._requests += 1
            self._computing[self._requests] = state
            self._commands.append(self._add_command(self._requests, state))

    def _add_command(self, number: int, state: RequestState) -> list[Any]:
        """Return the command that adds a row."""
        limits = state.request.max_tokens, sorted(state.stop_ids)
        return ["add", number, state.prompt_ids, *limits, _sampling(state)]

    def _push_tokens(self, reply: dict[str, Any]) -> None:
        """Push the tokens of a step to their requests."""
        self._proven = True
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
                    state.fail(StageError("the prompt and its answer do not fit the KV cache"))
        self._running = [state for state in self._running if not state.done]

    def _evict(self) -> None:
        """Stop the rows of requests that are done, such as those of clients that left."""
        for number, state in list(self._computing.items()):
            if state.done:
                del self._computing[number]
                self._commands.append(["stop", number])
        self._running = [state for state in self._running if not state.done]

    def _read_adapter(self, adapter: Adapter) -> AdapterFile:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(verified_copy(adapter, LORA_FILES))
            path, scale = str(folder / WEIGHTS_FILE), read_scale(folder)
            return AdapterFile(adapter, path, read_rank(folder), scale, stack.pop_all())

    def _load_adapter(self, inner: str, files: AdapterFile) -> None:
        try:
            self._live_process()
            self._adapters[inner] = files
            self._send_adapter(inner)
        except BaseException:
            self._adapters.pop(inner, None)
            files.copy.close()
            raise

    def _unload_adapter(self, inner: str) -> None:
        self._adapters.pop(inner).copy.close()
        if inner in self._loaded:
            self._loaded.discard(inner)
            self._commands.append(["drop", inner])

    def _send_adapter(self, inner: str) -> None:
        """Have the process read an adapter and wait until it has.

        Raises:
            InputError: the process cannot read the adapter.
        """
        files, process = self._adapters[inner], self._process
        if process is None:
            raise StageError(CLOSED)
        reply = self._request(process, ["load", inner, files.path, files.scale], "loaded")
        if reply["error"] is not None:
            raise InputError(
                f"{files.adapter.folder / WEIGHTS_FILE}: engine {self._settings.engine} cannot "
                f"read it: {reply['error']}"
            )
        self._loaded.add(inner)

    def _request(self, process: ChildProcess, command: list[Any], key: str) -> dict[str, Any]:
        """Send a command, after those that wait, and return the reply that has this key."""
        process.send([*self._commands, command])
        self._commands = []
        reply = process.receive()
        while key not in reply:
            self._push_tokens(reply)
            reply = process.receive()
        return reply


def _sampling(state: RequestState) -> list[float] | None:
    """Return temperature, top_p and seed; None means greedy."""
    request = state.request
    if request.temperature == 0:
        return None
    seed = request.seed if request.seed is not None else secrets.randbits(32)
    return [request.temperature, request.top_p, seed]
