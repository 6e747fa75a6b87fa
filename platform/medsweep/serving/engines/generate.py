"""The `generate` engine: transformers' generate over batches of whatever waits together."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medsweep.errors import InputError
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.models.templates import TEMPLATES
from medsweep.serving.engines.text import TextStream
from medsweep.serving.protocol import Delta, Generation

EVENT_S = 0.02
"""Least time between two events of an answer. Each event costs the way through Ray Serve some
milliseconds of CPU, and nobody reads faster; slower models still send every token by itself."""

GATHER_S = 0.003
"""How long the first request of a batch waits for others that are on their way."""


@dataclass
class _Row:
    """One request while it is being answered; the batch thread writes, the event loop reads."""

    request: Generation
    prompt_ids: list[int]
    text: TextStream
    loop: asyncio.AbstractEventLoop
    deltas: list[Delta | Exception] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    done: bool = False

    def give(self, delta: Delta | Exception) -> None:
        """Pass on a piece of the answer, from the batch thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._put, delta)

    async def take(self, gather_s: float) -> Delta:
        """Return what came, joined, after `gather_s` seconds at least or at the answer's end."""
        if gather_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), gather_s)
        await self.came.wait()
        taken, self.deltas = self.deltas, []
        self.came.clear()
        joined = Delta("", 0, 0)
        for delta in taken:
            if isinstance(delta, Exception):
                raise delta
            joined = replace(delta, text=joined.text + delta.text)
        return joined

    def _put(self, delta: Delta | Exception) -> None:
        self.deltas.append(delta)
        self.came.set()
        if isinstance(delta, Exception) or delta.finish_reason is not None:
            self.ended.set()


class GenerateEngine:
    """Dynamic batches: requests for one model that wait together share the forward passes.

    Args:
        spec: the base model's entry in the catalogue.
        adapters: adapters by the name that requests use; all of the same base.
        dtype: compute dtype.
        max_batch_size: requests a batch.
    """

    def __init__(
        self,
        spec: ModelSpec,
        adapters: dict[str, Adapter],
        *,
        base: Path | None = None,
        dtype: str,
        quantization: str = "none",
        max_batch_size: int,
        cpus: int | None = None,
    ) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        first = next(iter(adapters.values()))
        self._base_name = spec.name
        self._template = TEMPLATES[first.template]
        self._context = spec.context_length
        self._max_batch_size = max_batch_size
        self._tokenizer = AutoTokenizer.from_pretrained(first.base)
        self._tokenizer.pad_token = self._tokenizer.pad_token or self._tokenizer.eos_token
        self._stop_ids = frozenset(self._tokenizer.convert_tokens_to_ids(list(first.stop_tokens)))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        base = AutoModelForCausalLM.from_pretrained(first.base, dtype=getattr(torch, dtype))
        self._model: Any = None
        # PEFT makes modules of these names, which may hold no dot; an adapter's own name may.
        self._adapters = {name: f"adapter{number}" for number, name in enumerate(adapters)}
        for name, adapter in adapters.items():
            inner = self._adapters[name]
            if self._model is None:
                self._model = PeftModel.from_pretrained(base, adapter.folder, adapter_name=inner)
            else:
                self._model.load_adapter(adapter.folder, adapter_name=inner)
        self._model.to(device).eval()
        self._waiting: queue.Queue[_Row | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def models(self) -> list[str]:
        """Return the base model's name, then the adapters'."""
        return [self._base_name, *self._adapters]

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer.

        Raises:
            InputError: the prompt and `max_tokens` do not fit the model's context.
        """
        row = _Row(
            request,
            self._prompt_ids(request),
            TextStream(self._tokenizer, request.stop),
            asyncio.get_running_loop(),
        )
        self._waiting.put(row)
        try:
            delta = await row.take(0.0)
            yield delta
            while delta.finish_reason is None:
                delta = await row.take(EVENT_S)
                yield delta
        finally:
            row.done = True  # a client that has gone frees its place in the batch

    def close(self) -> None:
        """End the batch thread."""
        self._waiting.put(None)
        self._thread.join()

    def _prompt_ids(self, request: Generation) -> list[int]:
        if request.messages is not None:
            text = self._template.render(request.messages)
        else:
            text = request.prompt or ""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InputError("the prompt is empty")
        if len(ids) + request.max_tokens > self._context:
            raise InputError(
                f"the prompt has {len(ids)} tokens and max_tokens is {request.max_tokens}; "
                f"together they may be {self._context}"
            )
        return ids

    def _work(self) -> None:
        """Answer batch after batch until closed."""
        left_over: list[_Row] = []
        while True:
            if not left_over:
                row = self._waiting.get()
                if row is None:
                    return
                left_over = [row]
                time.sleep(GATHER_S)
            while True:
                try:
                    row = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if row is None:
                    return
                left_over.append(row)
            key = _batch_key(left_over[0])
            batch = [row for row in left_over if _batch_key(row) == key][: self._max_batch_size]
            left_over = [row for row in left_over if not any(row is member for member in batch)]
            try:
                self._answer([row for row in batch if not row.done])
            except Exception as error:  # noqa: BLE001 it goes to each request of the batch
                for row in batch:
                    row.give(error)

    def _answer(self, rows: Sequence[_Row]) -> None:
        """Generate for the rows of one batch, giving each its tokens as they come."""
        import torch
        from transformers import StoppingCriteriaList

        if not rows:
            return
        request = rows[0].request
        sampling: dict[str, Any] = {"do_sample": False}
        if request.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": request.temperature,
                "top_p": request.top_p,
            }
            sampling["top_k"] = 0  # transformers' default of 50 is not what the API says
            torch.manual_seed(request.seed if request.seed is not None else time.time_ns())
        longest = max(len(row.prompt_ids) for row in rows)
        padding = [longest - len(row.prompt_ids) for row in rows]
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor(
            [[pad] * gap + row.prompt_ids for gap, row in zip(padding, rows, strict=True)]
        )
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in padding])
        device = self._model.device

        def generate() -> None:
            self._model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max(row.request.max_tokens for row in rows),
                eos_token_id=list(self._stop_ids),
                pad_token_id=pad,
                stopping_criteria=StoppingCriteriaList([_Hand(rows, self._stop_ids)]),
                **sampling,
            )

        with torch.inference_mode():
            if request.model == self._base_name:
                with self._model.disable_adapter():
                    generate()
            else:
                self._model.set_adapter(self._adapters[request.model])
                generate()


class _Hand:
    """Hands each new token to its row; called by transformers after every step."""

    def __init__(self, rows: Sequence[_Row], stop_ids: frozenset[int]) -> None:
        self._rows, self._stop_ids = rows, stop_ids

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not row.done:
                _take_token(row, token, ended=token in self._stop_ids)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)


def _take_token(row: _Row, token: int, *, ended: bool) -> None:
    at_limit = row.text.tokens + 1 >= row.request.max_tokens
    text = row.text.push(token, last=ended or at_limit)
    row.done = ended or at_limit or row.text.stopped
    reason: Literal["stop", "length"] | None = None
    if row.done:
        reason = "stop" if ended or row.text.stopped else "length"
    row.give(Delta(text, row.text.tokens, len(row.prompt_ids), reason))


def _batch_key(row: _Row) -> tuple[Any, ...]:
    """Return what requests must share to be answered together; one with a seed is alone."""
    request = row.request
    if request.temperature == 0:
        return (request.model,)
    alone = id(row) if request.seed is not None else None
    return (request.model, request.temperature, request.top_p, alone)
