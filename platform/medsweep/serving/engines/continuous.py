"""The `continuous` engine: rows join and leave between two tokens, whatever adapter they use.

transformers' own continuous batching takes one adapter at a time, and its paged cache pays for
itself on a GPU with FlashAttention. What both make on a processor is in docs/engines.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsweep.finetune.adapter import Adapter
from medsweep.models.loading import load_tokenizer
from medsweep.serving.engines.engine_thread import ThreadedEngine
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import Pair, read_pairs
from medsweep.serving.engines.request_state import Row
from medsweep.serving.engines.sampling import next_tokens
from medsweep.serving.protocol import EngineSettings

PREFILL_TOKENS = 512
"""Prompt tokens of one prefill, which every other row waits for; a longer prompt goes alone."""


class ContinuousEngine(ThreadedEngine):
    """Every step computes one token of every row; between steps prompts that wait are prefilled.

    Args:
        settings: with quantization none, int8 or nf4.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._tokens: list[int] = []  # the last token of each row
        self._generators: dict[Row, Any] = {}
        super().__init__(settings)

    def _load(self, folder: Path) -> Any:
        settings = self._settings
        self._model = LoraModel(
            folder, dtype=settings.dtype, quantization=settings.quantization, flash=False
        )
        self._reset()
        return load_tokenizer(folder)

    def _read(self, adapter: Adapter) -> dict[str, Pair]:
        return read_pairs(adapter.folder)

    def _put_on(self, inner: str, files: dict[str, Pair]) -> None:
        self._model.add(inner, files)

    def _take_off(self, inner: str) -> None:
        self._model.drop(inner)

    def _reset(self) -> None:
        from medsweep.serving.engines.kv import Slots

        self._slots = Slots(self._settings.max_batch_size)
        self._tokens, self._generators = [], {}

    def _step(self) -> None:
        import torch

        with torch.inference_mode():
            self._leave()
            self._queue.discard(lambda row: row.done)
            self._join()
            if self._rows:
                self._decode()

    def _join(self) -> None:
        """Prefill what waits, as far as there are slots and as the others can wait."""
        new: list[Row] = []
        longest = 0
        while len(self._rows) + len(new) < self._settings.max_batch_size and self._queue:
            longest = max(longest, len(self._queue.peek().prompt_ids))
            if new and longest * (len(new) + 1) > PREFILL_TOKENS:
                break
            new += self._queue.take(1)
        if new:
            self._rows += new  # first: if the prefill fails, they are told
            self._prefill(new)
            self._leave()

    def _prefill(self, new: Sequence[Row]) -> None:
        import torch
        from transformers import DynamicCache

        for row in new:
            row.begin(len(self._rows))
        longest = max(len(row.prompt_ids) for row in new)
        padding = [longest - len(row.prompt_ids) for row in new]
        ids = torch.tensor(
            [[0] * gap + row.prompt_ids for gap, row in zip(padding, new, strict=True)]
        )
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in padding])
        device = self._model.device
        cache = DynamicCache()
        logits = self._model.logits(
            [row.adapter for row in new],
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0).to(device),
            past_key_values=cache,
        )
        self._slots.join(cache, padding)
        self._tokens += self._hand_out(logits, new)

    def _decode(self) -> None:
        import torch

        device = self._model.device
        logits = self._model.logits(
            [row.adapter for row in self._rows],
            input_ids=torch.tensor(self._tokens, device=device)[:, None],
            past_key_values=self._slots,
            **self._slots.step(device),
        )
        self._tokens = self._hand_out(logits, self._rows)

    def _hand_out(self, logits: Any, rows: Sequence[Row]) -> list[int]:
        tokens = next_tokens(logits, rows, self._generators)
        for row, token in zip(rows, tokens, strict=True):
            if not row.done:
                row.push(token)
        return tokens

    def _leave(self) -> None:
        """Free the slots of the rows that are done."""
        for place in reversed(range(len(self._rows))):
            if self._rows[place].done:
                self._generators.pop(self._rows[place], None)
                self._slots.leave(place)
                row, token = self._rows.pop(), self._tokens.pop()
                if place < len(self._rows):
                    self._rows[place], self._tokens[place] = row, token
