"""The `generate` engine: transformers' `generate` on batches of the requests that wait together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medsweep.models.loading import load_tokenizer
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.readback import Readback
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.engines.torch_engine import TorchEngine

GATHER_S = 0.003
"""How long the first request of a batch waits for others to arrive."""


class GenerateEngine(TorchEngine):
    """Dynamic batches: requests for one model that wait together share the forward passes.

    Args:
        settings: with quantization none, int8 or nf4.
    """

    def _load_base(self, folder: Path) -> Any:
        settings = self._settings
        self._model = LoraModel(
            folder,
            dtype=settings.dtype,
            quantization=settings.quantization,
            flash=True,
            gpu=settings.device,
        )
        self._readback = Readback(settings.max_batch_size, self._model.device)
        tokenizer = load_tokenizer(folder)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return tokenizer

    def _reset(self) -> None:
        """Nothing to do: each batch is a call of its own."""

    def _step(self) -> None:
        time.sleep(GATHER_S)
        self._between_tokens()
        self._waiting.discard(lambda state: state.done)
        self._running = batch = self._waiting.take_alike(self._settings.max_batch_size, _batch_key)
        if batch:
            self._answer(batch)
        self._running = []

    def _answer(self, states: Sequence[RequestState]) -> None:
        """Generate the answers of one batch; each request gets its tokens as they are computed."""
        import torch
        from transformers import StoppingCriteriaList

        request = states[0].request
        sampling: dict[str, Any] = {"do_sample": False}
        if request.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": request.temperature,
                "top_p": request.top_p,
            }
            sampling["top_k"] = 0  # transformers' default is 50; the API has no such limit
            torch.manual_seed(request.seed if request.seed is not None else time.time_ns())
        longest = max(len(state.prompt_ids) for state in states)
        padding = [longest - len(state.prompt_ids) for state in states]
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor(
            [[pad] * gap + state.prompt_ids for gap, state in zip(padding, states, strict=True)]
        )
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in padding])
        for state in states:
            state.begin(len(states))
        with torch.inference_mode():
            self._model.using(states[0].adapter).generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                max_new_tokens=max(state.request.max_tokens for state in states),
                eos_token_id=list(states[0].stop_ids),
                pad_token_id=pad,
                stopping_criteria=StoppingCriteriaList(
                    [_PushTokens(states, self._between_tokens, self._readback)]
                ),
                **sampling,
            )


class _PushTokens:
    """Pushes each new token to its request; called by transformers after every step."""

    def __init__(
        self,
        states: Sequence[RequestState],
        between_tokens: Callable[[], None],
        readback: Readback,
    ) -> None:
        self._running, self._between_tokens = states, between_tokens
        self._readback = readback

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        for state, token in zip(self._running, self._readback.read(input_ids[:, -1]), strict=True):
            if not state.done:
                state.push(token)
        self._between_tokens()
        return torch.tensor([state.done for state in self._running], device=input_ids.device)


def _batch_key(state: RequestState) -> tuple[Any, ...]:
    """Return what requests must share to be batched; a request with a seed is batched alone."""
    request = state.request
    if request.temperature == 0:
        return ()
    alone = id(state) if request.seed is not None else None
    return (request.temperature, request.top_p, alone)
