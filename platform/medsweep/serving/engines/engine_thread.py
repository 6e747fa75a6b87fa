"""The base class of engines that compute on a thread of their own."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter
from medsweep.serving.engines.compatibility import wrong_quantization
from medsweep.serving.engines.detokenize import TextStream
from medsweep.serving.engines.fair_queue import FairQueue
from medsweep.serving.engines.model_names import ModelNames, ServedModel, base_folder
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.protocol import Delta, EngineDied, EngineSettings, Generation, TokenScores

LOG = logging.getLogger("medsweep.serving")

CHECK_PROMPT = "Hello"
CLOSED = "the engine is closed"


@dataclass
class _Task:
    """Work for the engine's thread between two steps."""

    do: Callable[[], None]
    between_tokens: bool
    done: Future[None]


class ThreadedEngine(ABC):
    """Takes requests through an inbox; its thread schedules them and runs tasks between steps.

    Args:
        settings: the base model, its adapters and how to compute.

    Raises:
        InputError: an adapter is of another base model, there is neither a base nor an adapter, or
            the engine does not support the quantization.
    """

    def __init__(self, settings: EngineSettings) -> None:
        refused = wrong_quantization(settings.engine, settings.quantization)
        if refused:
            raise InputError(refused)
        self._settings = settings
        self._waiting: FairQueue[RequestState] = FairQueue(lambda state: state.adapter)
        self._inbox: queue.SimpleQueue[RequestState | _Task | None] = queue.SimpleQueue()
        # What is put in while it is held is taken out by the thread, or failed at its end.
        self._handover = threading.Lock()
        self._tasks: list[_Task] = []
        self._running: list[RequestState] = []
        self._open = True
        self._death: str | None = None
        self._tokenizer = self._load_base(base_folder(settings))
        if not hasattr(self._tokenizer, "backend_tokenizer"):
            raise InputError(
                f"{settings.model.name}: its tokenizer cannot decode token by token; "
                "save it as tokenizer.json"
            )
        self._served = ModelNames(settings.model, self._tokenizer, settings.max_model_len)
        for name, adapter in settings.adapters.items():
            inner = self._served.new_inner()
            self._load_adapter(inner, self._read_adapter(adapter))
            self._served.put(name, inner, adapter)
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def scores_tokens(self) -> bool:
        """Whether it gives log-probabilities."""
        return False

    @abstractmethod
    def _load_base(self, folder: Path) -> Any:
        """Load the base model and return its tokenizer."""

    @abstractmethod
    def _read_adapter(self, adapter: Adapter) -> Any:
        """Read an adapter's files; not called on the engine's thread."""

    @abstractmethod
    def _load_adapter(self, inner: str, files: Any) -> None:
        """Add an adapter to the model."""

    @abstractmethod
    def _unload_adapter(self, inner: str) -> None:
        """Remove an adapter from the model."""

    @abstractmethod
    def _step(self) -> None:
        """Admit waiting requests, compute tokens of the running ones and evict finished ones."""

    @abstractmethod
    def _reset(self) -> None:
        """Discard the state that a failed step left behind."""

    def fault(self) -> str | None:
        """Return why the engine cannot answer now; None if it can."""
        return self._death

    def details(self) -> dict[str, Any]:
        """Return the settings that the engine runs with."""
        return {}

    async def models(self) -> list[str]:
        """Return the base model's name, then the adapters'."""
        return self._served.names()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer.

        Raises:
            InputError: the prompt and `max_tokens` do not fit the model's context, or
                log-probabilities are requested of an engine that gives none.
            UnknownName: no adapter of that name is loaded.
        """
        if request.logprobs is not None and not self.scores_tokens:
            raise InputError(f"the engine {self._settings.engine} gives no log-probabilities here")
        served = self._served[request.model]
        served.users += 1  # first, so that the adapter stays while the prompt is tokenized
        state: RequestState | None = None
        try:
            prompt_ids = await self._served.prompt_ids(request)
            if request.max_tokens == 0:
                nothing = Delta("", 0, len(prompt_ids), "length")
                yield await self._finished(nothing, request, served, prompt_ids, ())
                return
            output_ids: tuple[int, ...] = ()
            state = RequestState(
                request,
                prompt_ids,
                served.stop_ids,
                served.adapter,
                TextStream(self._tokenizer.backend_tokenizer, request.stop),
                asyncio.get_running_loop(),
            )
            self._put(state)
            delta = await state.take(0.0)
            while True:
                if request.logprobs is not None or request.echo:
                    output_ids += delta.token_ids
                    if delta.finish_reason is not None:
                        delta = await self._finished(delta, request, served, prompt_ids, output_ids)
                handed_s = time.perf_counter()
                yield delta
                handled_s = time.perf_counter() - handed_s
                if delta.finish_reason is not None:
                    break
                # Events cost CPU time (some milliseconds in Ray Serve). A client that takes them
                # at once gets every token; where handling takes long, it takes half of the time.
                delta = await state.take(handled_s)
        finally:
            if state is not None:
                state.done = True  # a client that left frees its row of the batch
            served.release()

    async def _finished(
        self,
        delta: Delta,
        request: Generation,
        served: ServedModel,
        prompt_ids: list[int],
        output_ids: tuple[int, ...],
    ) -> Delta:
        """Return the last piece of an answer with the log-probabilities and the echoed prompt."""
        scores: TokenScores | None = None
        if request.logprobs is not None:
            ids, top = [*prompt_ids, *output_ids], request.logprobs
            first = 0 if request.echo else len(prompt_ids)
            scored: list[TokenScores] = []

            def score() -> None:
                scored.append(self._score(served.adapter, ids, first, top))

            await self._run_on_thread(score, between_tokens=False)
            [scores] = scored
        text = ""
        if request.echo:
            decode = self._tokenizer.backend_tokenizer.decode
            text = request.prompt or decode(prompt_ids, skip_special_tokens=False)
        return replace(delta, scores=scores, prompt_text=text)

    def _score(self, adapter: str | None, ids: list[int], first: int, top: int) -> TokenScores:
        """Return log-probabilities of tokens; called only where `scores_tokens` is true."""
        raise NotImplementedError

    async def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Read an adapter while requests run, and add it to the model between two tokens.

        Raises:
            InputError: the adapter is of another base model, or the name is the base's.
        """
        self._served.refuse_if_foreign(name, adapter)
        files = await asyncio.to_thread(self._read_adapter, adapter)
        inner = self._served.new_inner()
        await self._run_on_thread(lambda: self._load_adapter(inner, files), between_tokens=True)
        before = self._served.put(name, inner, adapter)
        if before is not None:
            await self._retire(before)

    async def remove_adapter(self, name: str) -> None:
        """Remove an adapter as soon as no request uses it.

        Raises:
            UnknownName: no adapter of that name is loaded.
        """
        await self._retire(self._served.pop(name))

    async def check(self) -> None:
        """Generate one token.

        Raises:
            StageError: the engine does not generate.
        """
        try:
            async for _ in self.stream(
                Generation(self._settings.model.name, None, CHECK_PROMPT, 1)
            ):
                pass
        except Exception as error:
            raise StageError(f"the engine does not generate: {type(error).__name__}") from error

    def close(self) -> None:
        """Stop the thread; unfinished requests fail."""
        self._open = False
        self._inbox.put(None)
        self._wake()
        self._thread.join()

    def _wake(self) -> None:  # noqa: B027 most engines do not wait within a step
        """Interrupt a step that waits, because a request or task has arrived."""

    def _put(self, item: RequestState | _Task) -> None:
        """Hand a request or a task to the thread.

        Raises:
            StageError: the engine is closed, or its thread has ended. Nobody would take the item.
        """
        with self._handover:
            if not self._open:
                raise self._ended()
            self._inbox.put(item)
        self._wake()

    def _ended(self) -> StageError:
        """Return why nothing is answered any more."""
        return StageError(CLOSED) if self._death is None else EngineDied(self._death)

    def _between_tokens(self) -> None:
        """Run the tasks that have arrived; called between two steps of a long batch."""
        self._collect(wait=False)
        self._run_tasks(lambda task: task.between_tokens)
        if not self._open:
            self._fail_running(StageError(CLOSED))

    def _work(self) -> None:
        try:
            self._on_thread()
            self._serve()
        except BaseException as error:  # noqa: BLE001 every request would wait for ever
            if self._open:
                # Its text could hold a prompt.
                self._death = f"the engine's thread ended: {type(error).__name__}"
                place = "".join(traceback.format_tb(error.__traceback__)[-3:])
                LOG.error("%s\n%s", self._death, place)
        finally:
            with self._handover:
                self._open = False
            self._collect(wait=False)
            self._running += self._waiting.take(len(self._waiting))
            self._fail_running(self._ended())
            for task in self._tasks:
                if task.done.set_running_or_notify_cancel():
                    task.done.set_exception(self._ended())

    def _serve(self) -> None:
        while self._open:
            self._collect(wait=not (self._running or self._waiting or self._tasks))
            self._run_tasks(lambda task: True)
            if not self._open or not (self._running or self._waiting):
                continue
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 it goes to each request of the batch
                self._fail_running(error)
                self._running = []
                self._reset()

    def _fail_running(self, error: Exception) -> None:
        for state in self._running:
            if not state.done:
                state.fail(error)

    def _on_thread(self) -> None:  # noqa: B027 a process has threads of its own
        """Prepare the engine's thread; called there before the first request."""

    def _collect(self, *, wait: bool) -> None:
        while True:
            try:
                item = self._inbox.get(block=wait)
            except queue.Empty:
                return
            wait = False
            if isinstance(item, RequestState):
                self._waiting.put(item)
            elif item is not None:
                self._tasks.append(item)

    def _run_tasks(self, now: Callable[[_Task], bool]) -> None:
        due = [task for task in self._tasks if now(task)]
        self._tasks = [task for task in self._tasks if not now(task)]
        for task in due:
            # One that was cancelled while it waited, such as by a client that left, has no result.
            if not task.done.set_running_or_notify_cancel():
                continue
            try:
                task.do()
            except Exception as error:  # noqa: BLE001 it is raised in the caller
                task.done.set_exception(error)
            else:
                task.done.set_result(None)

    def _submit(self, do: Callable[[], None], *, between_tokens: bool) -> Future[None]:
        """Have the engine's thread do something between two steps."""
        task = _Task(do, between_tokens, Future())
        self._put(task)
        return task.done

    async def _run_on_thread(self, do: Callable[[], None], *, between_tokens: bool) -> None:
        await asyncio.wrap_future(self._submit(do, between_tokens=between_tokens))

    async def _retire(self, served: ServedModel) -> None:
        await served.wait_unused()
        # A batch may still compute with it after its last request has been answered.
        unloaded = self._submit(
            lambda: self._unload_adapter(served.adapter or ""), between_tokens=False
        )
        # Shielded: it has no name any more, so nobody else would free its memory.
        await asyncio.shield(asyncio.wrap_future(unloaded))
