"""The `generate` engine: transformers' generate over batches of whatever waits together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medsweep.finetune.adapter import Adapter
from medsweep.models.loading import load_tokenizer
from medsweep.serving.engines.engine_thread import ThreadedEngine
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import Pair, read_pairs
from medsweep.serving.engines.request_state import Row

GATHER_S = 0.003
"""How long the first request of a batch waits for others that are on their way."""


class GenerateEngine(ThreadedEngine):
    """Dynamic batches: requests for one model that wait together share the forward passes.

    Args:
        settings: with quantization none, int8 or nf4.
    """

    def _load(self, folder: Path) -> Any:
        settings = self._settings
        self._model = LoraModel(
            folder, dtype=settings.dtype, quantization=settings.quantization, flash=True
        )
        tokenizer = load_tokenizer(folder)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return tokenizer

    def _read(self, adapter: Adapter) -> dict[str, Pair]:
        return read_pairs(adapter.folder)

    def _put_on(self, inner: str, files: dict[str, Pair]) -> None:
        self._model.add(inner, files)

    def _take_off(self, inner: str) -> None:
        self._model.drop(inner)

    def _reset(self) -> None:
        """Nothing is left behind: each batch is a call of its own."""

    def _step(self) -> None:
        time.sleep(GATHER_S)
        self._between_tokens()
        self._queue.discard(lambda row: row.done)
        self._rows = batch = self._queue.take_alike(self._settings.max_batch_size, _batch_key)
        if batch:
            self._answer(batch)
        self._rows = []

    def _answer(self, rows: Sequence[Row]) -> None:
        """Generate for the rows of one batch, giving each its tokens as they come."""
        import torch
        from transformers import StoppingCriteriaList

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
        for row in rows:
            row.begin(len(rows))
        with torch.inference_mode():
            self._model.using(rows[0].adapter).generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                max_new_tokens=max(row.request.max_tokens for row in rows),
                eos_token_id=list(rows[0].stop_ids),
                pad_token_id=pad,
                stopping_criteria=StoppingCriteriaList([_Hand(rows, self._between_tokens)]),
                **sampling,
            )


class _Hand:
    """Hands each new token to its row; called by transformers after every step."""

    def __init__(self, rows: Sequence[Row], between_tokens: Callable[[], None]) -> None:
        self._rows, self._between_tokens = rows, between_tokens

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not row.done:
                row.push(token)
        self._between_tokens()
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)


def _batch_key(row: Row) -> tuple[Any, ...]:
    """Return what requests must share to be answered together; one with a seed is alone."""
    request = row.request
    if request.temperature == 0:
        return ()
    alone = id(row) if request.seed is not None else None
    return (request.temperature, request.top_p, alone)
