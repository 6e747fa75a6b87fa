"""The `continuous` engine: requests with any adapter join and leave the batch between two tokens.

docs/results/benchmarks.md compares it with transformers' own continuous batching on a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import InputError, StageError
from medsweep.finetune.memory import ran_out_of_memory
from medsweep.models.loading import load_tokenizer
from medsweep.serving.engines.decode import CudaGraphs, Decoder, Step
from medsweep.serving.engines.kv import Slots, token_budget
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import LowRankPair
from medsweep.serving.engines.prefix import Prefix, SharedPrefixes
from medsweep.serving.engines.readback import Readback
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.engines.torch_engine import TorchEngine
from medsweep.serving.protocol import EngineSettings
from medsweep.telemetry.step_times import STEP_TIMES

LOG = logging.getLogger("medsweep.serving")

PREFILL_TOKENS = 512
"""Most prompt tokens of one prefill, since every other request waits for it; a longer prompt is
prefilled alone."""


@dataclass(frozen=True)
class _Prefilled:
    """Prompts that were read.

    Attributes:
        filled: keys and values of each block, [rows, heads, tokens, width].
        padding: pad tokens of each row, behind the shared tokens.
        shared: tokens at the beginning that were known already.
        logits: of the last token of each row.
    """

    filled: list[tuple[Any, Any]]
    padding: list[int]
    shared: int
    logits: Any


class ContinuousEngine(TorchEngine):
    """Decodes one token per request in each step and prefills new prompts between steps.

    Args:
        settings: with quantization none, int8 or nf4.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._tokens: list[int] = []  # the last token of each request
        self._prefixes = SharedPrefixes() if settings.prefix_caching else None
        self._started = False
        self._changed = True  # whether the decoder has other tokens
        self._pending: Step | None = None  # a step of the running requests that is being computed
        self._generators: dict[RequestState, Any] = {}
        super().__init__(settings)

    def details(self) -> dict[str, Any]:
        """Return the settings that it runs with; on a GPU also why steps are no CUDA graphs."""
        known: dict[str, Any] = {
            "kv_cache_tokens": self._slots.tokens,
            "max_num_seqs": self._settings.max_batch_size,
            "prefix_caching": self._prefixes is not None,
        }
        if self._decoder.runs_ahead:
            known["cuda_graphs"] = self._decoder.refused or True
        return known

    def _load_base(self, folder: Path) -> Any:
        settings, rows = self._settings, self._settings.max_batch_size
        self._model = LoraModel(
            folder,
            dtype=settings.dtype,
            quantization=settings.quantization,
            flash=False,
            rows=rows,
            gpu=settings.device,
        )
        on_gpu = self._model.device.type == "cuda"
        longest = settings.model.context_length
        like = self._model.first_cache()
        budget = token_budget(like, rows * longest)
        if budget < rows * longest:
            LOG.info(
                "the KV cache holds %d tokens: %d requests of %d",
                budget,
                budget // longest,
                longest,
            )
        self._slots = Slots(rows, budget, like, longest=longest if on_gpu else 0)
        graphs: CudaGraphs | str = "this device has no CUDA graphs"
        if on_gpu and settings.quantization == "int8":
            graphs = "bitsandbytes' int8 layers wait for the GPU, which a CUDA graph cannot"
        elif on_gpu:
            graphs = CudaGraphs(self._model.device)
        self._decoder = Decoder(self._model, self._slots, rows, graphs)
        self._first_tokens = Readback(rows, self._model.device)
        return load_tokenizer(folder)

    def _on_thread(self) -> None:
        super()._on_thread()
        self._decoder.warm_up()
        self._started = True

    def _load_adapter(self, inner: str, files: dict[str, LowRankPair]) -> None:
        super()._load_adapter(inner, files)
        if self._started and not self._slots.longest:
            self._decoder.warm_up()

    def _unload_adapter(self, inner: str) -> None:
        super()._unload_adapter(inner)
        if self._prefixes is not None:
            self._prefixes.drop(inner)

    def _reset(self) -> None:
        self._slots.clear()
        self._tokens, self._changed, self._pending, self._generators = [], True, None, {}

    def _step(self) -> None:
        import torch

        with torch.inference_mode():
            if self._pending and (self._waiting or any(state.done for state in self._running)):
                # Rows may change places only when the tokens of this step have been given out.
                pending, self._pending = self._pending, None
                self._finish(pending)
            if self._pending is None:
                self._evict()
                self._waiting.discard(lambda state: state.done)
                self._admit()
            if self._running:
                self._decode()

    def _admit(self) -> None:
        """Prefill waiting requests, within the free slots, the KV cache and PREFILL_TOKENS."""
        new: list[RequestState] = []
        longest = 0
        while len(self._running) + len(new) < self._settings.max_batch_size and self._waiting:
            state = self._waiting.peek()
            if not self._slots.could_hold(state.most_tokens):
                self._waiting.take(1)
                state.fail(InputError(_too_long(state, self._slots.tokens)))
                continue
            longest = max(longest, len(state.prompt_ids))
            needs = [each.most_tokens for each in (*new, state)]
            if (new and longest * len(needs) > PREFILL_TOKENS) or not self._slots.has_room(needs):
                break
            new += self._waiting.take(1)
        if new:
            try:
                self._prefill(new)
            except BaseException:
                # They fail like the rest: they are in no queue any more, and would wait for ever.
                self._running += [state for state in new if state not in self._running]
                raise
            self._evict()

    def _prefill(self, new: Sequence[RequestState]) -> None:
        """Read prompts; where memory runs out, only those that do not fit alone fail."""
        import torch

        for state in new:
            state.begin(len(self._running) + len(new))
        try:
            read = self._read_prompts(new)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
        else:
            needs = [state.most_tokens for state in new]
            self._slots.admit(read.filled, read.padding, needs, read.shared)
            self._running += new
            self._changed = True
            self._push(self._first_tokens.read(read.logits.argmax(-1)), read.logits, new)
            return
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(new) > 1:
            for state in new:
                self._prefill([state])
            return
        LOG.warning("out of memory for a prompt of %d tokens", len(new[0].prompt_ids))
        new[0].fail(
            StageError(
                f"out of memory while the prompt's {len(new[0].prompt_ids)} tokens were read; "
                "send a shorter one, or lower max_batch_size"
            )
        )

    def _read_prompts(self, new: Sequence[RequestState]) -> _Prefilled:
        """Compute the prompts' keys and values, without a beginning that is known already."""
        import torch
        from transformers import DynamicCache

        prefixes: list[Prefix] = []
        shared = 0
        if self._prefixes is not None:
            prefixes, shared = self._prefixes.common(
                [(each.adapter, each.prompt_ids) for each in new]
            )
        rest = [state.prompt_ids[shared:] for state in new]
        longest = max(map(len, rest))
        padding = [longest - len(ids) for ids in rest]
        ids = torch.tensor([[0] * gap + ids for gap, ids in zip(padding, rest, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in padding])
        device = self._model.device
        cache = DynamicCache()
        for place, layers in enumerate(zip(*(prefix.layers for prefix in prefixes), strict=True)):
            keys, values = zip(*layers, strict=True)
            cache.update(
                torch.stack([each[:, :shared] for each in keys]),
                torch.stack([each[:, :shared] for each in values]),
                place,
            )
        known = torch.ones(len(new), shared, dtype=mask.dtype)
        logits = self._model.logits(
            [state.adapter for state in new],
            input_ids=ids.to(device),
            attention_mask=torch.cat([known, mask], 1).to(device),
            position_ids=(shared + (mask.cumsum(-1) - 1).clamp(min=0)).to(device),
            past_key_values=cache,
        )
        filled = [(layer.keys, layer.values) for layer in cache.layers]
        if self._prefixes is not None and not shared:
            for place, (state, gap) in enumerate(zip(new, padding, strict=True)):
                own = [(keys[place, :, gap:], values[place, :, gap:]) for keys, values in filled]
                self._prefixes.learn(state.adapter, state.prompt_ids, own)
        return _Prefilled(filled, padding, shared, logits)

    def _decode(self) -> None:
        """Push the tokens of one step; on a GPU the next step begins before."""
        pending = self._pending or self._begin()
        self._pending = None
        if self._may_run_ahead():
            self._pending = self._begin()
        self._finish(pending)

    def _begin(self) -> Step:
        if self._changed:
            self._decoder.put(self._tokens)
            self._changed = False
        if not self._decoder.runs_ahead:
            return self._decoder.step([state.adapter for state in self._running])
        with STEP_TIMES.launching():
            return self._decoder.step([state.adapter for state in self._running])

    def _finish(self, pending: Step) -> None:
        """Wait for a step and push its tokens."""
        if self._decoder.runs_ahead:
            with STEP_TIMES.waiting():
                likeliest = pending.likeliest.finish()
        else:
            likeliest = pending.likeliest.finish()
        self._push(likeliest, pending.logits, self._running)

    def _may_run_ahead(self) -> bool:
        """Whether every row will need another token after the step that is being computed.

        A row that then ends by a stop token has been computed once in vain.
        """
        return self._decoder.runs_ahead and not (
            self._waiting
            or any(
                state.done
                or state.request.temperature > 0
                or state.text.tokens + 2 > state.request.max_tokens
                for state in self._running
            )
        )

    def _push(self, likeliest: list[int], logits: Any, states: Sequence[RequestState]) -> None:
        """Give each request its next token."""
        tokens = next_tokens(likeliest, logits, states, self._generators)
        self._changed |= tokens != likeliest
        self._tokens[len(self._running) - len(states) :] = tokens
        for state, token in zip(states, tokens, strict=True):
            if not state.done:
                state.push(token)

    def _evict(self) -> None:
        """Free the slots of requests that are done."""
        for place in reversed(range(len(self._running))):
            if self._running[place].done:
                self._generators.pop(self._running[place], None)
                self._slots.evict(place)
                self._changed = True
                state, token = self._running.pop(), self._tokens.pop()
                if place < len(self._running):
                    self._running[place], self._tokens[place] = state, token


def _too_long(state: RequestState, budget: int) -> str:
    return (
        f"the prompt has {len(state.prompt_ids)} tokens and max_tokens is "
        f"{state.request.max_tokens}; the memory of this server holds {budget} tokens"
    )


def next_tokens(
    likeliest: list[int],
    logits: Any,
    states: Sequence[RequestState],
    generators: dict[RequestState, Any],
) -> list[int]:
    """Return the next token of each request: the likeliest, or a sample if its temperature is > 0.

    Args:
        likeliest: the likeliest token of each request.
        logits: [requests, vocabulary].
        states: the requests.
        generators: random number generators of the requests that sample; new ones are added.
    """
    tokens = list(likeliest)
    for place, state in enumerate(states):
        if state.request.temperature > 0:
            if state not in generators:
                generators[state] = _generator(state, logits.device)
            tokens[place] = _draw(logits[place], state, generators[state])
    return tokens


def _generator(state: RequestState, device: Any) -> Any:
    import torch

    generator = torch.Generator(device)
    if state.request.seed is None:
        generator.seed()
    else:
        generator.manual_seed(state.request.seed)
    return generator


def _draw(logits: Any, state: RequestState, generator: Any) -> int:
    """Sample from the likeliest tokens that together reach `top_p` (Holtzman et al., 2019)."""
    import torch

    shares, ids = (logits.float() / state.request.temperature).softmax(-1).sort(descending=True)
    before = shares.cumsum(-1) - shares
    shares = shares.where(before < state.request.top_p, 0.0)
    return int(ids[torch.multinomial(shares, 1, generator=generator)])
