"""The types that the HTTP ingress and the engines exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from medsweep.errors import StageError
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.models.templates import Message


class EngineDied(StageError):
    """The engine ended while it computed, or cannot start. The message has no text of a prompt."""


@dataclass(frozen=True)
class Generation:
    """One request for tokens.

    Attributes:
        model: an adapter's name, or the base model's.
        messages: a conversation, which the engine formats with the model's template; or None.
        prompt: a text to continue without a template; or None.
        max_tokens: most output tokens.
        temperature: 0 means greedy.
        top_p: share of probability to sample from.
        stop: texts that end the answer; they are not part of it.
        seed: seed of sampling; None draws one.
        max_prompt_tokens: most prompt tokens that the server accepts; None: the model's context.
        prompt_ids: the prompt as tokens, in place of `prompt`; or None.
        logprobs: how many of the likeliest tokens are wanted beside each token's log-probability;
            None wants no log-probabilities.
        echo: whether the prompt is part of the answer; then `max_tokens` may be 0.
    """

    model: str
    messages: tuple[Message, ...] | None
    prompt: str | None
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    max_prompt_tokens: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    logprobs: int | None = None
    echo: bool = False


@dataclass(frozen=True)
class TokenScores:
    """Log-probabilities of tokens, each given those before it.

    Attributes:
        tokens: their texts.
        log_probs: natural logarithms; None for the first token of a prompt.
        tops: of each the likeliest tokens with theirs, and the token itself.
        offsets: where each token begins in their text, in characters.
    """

    tokens: tuple[str, ...]
    log_probs: tuple[float | None, ...]
    tops: tuple[dict[str, float] | None, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class Start:
    """How an answer began.

    Attributes:
        queue_s: time from the request to the start of its prefill, in seconds.
        prefill_s: time from there to its first token, in seconds.
        batch_size: requests in the batch at that time, including this one.
    """

    queue_s: float
    prefill_s: float
    batch_size: int


@dataclass(frozen=True)
class Delta:
    """A piece of an answer.

    Attributes:
        text: new text; empty if the tokens so far end inside a character.
        output_tokens: tokens so far.
        prompt_tokens: tokens of the prompt.
        finish_reason: set on the last piece.
        start: how the answer began, on the first piece of an engine that knows it.
        token_ids: the new tokens, of an engine that gives log-probabilities.
        scores: log-probabilities of the answer, after those of the prompt if it is echoed; on the
            last piece, where the request wants them.
        prompt_text: the prompt's text, on the last piece, where the request echoes it.
    """

    text: str
    output_tokens: int
    prompt_tokens: int
    finish_reason: Literal["stop", "length"] | None = None
    start: Start | None = None
    token_ids: tuple[int, ...] = ()
    scores: TokenScores | None = None
    prompt_text: str = ""


@dataclass(frozen=True)
class EngineSettings:
    """Settings of an engine.

    Attributes:
        engine: its name in `ENGINES`.
        model: the base model.
        base: folder of the base model's weights; None takes the one that the adapters name.
        adapters: by the name that requests use; all of the same base. More can be added later.
        dtype: compute dtype.
        quantization: quantization of the base model's weights.
        max_batch_size: maximum number of requests in one forward pass.
        cpus: CPU threads; None leaves the number to the library.
        replicas: engines that share the requests, each on a GPU of its own.
        device: number of the GPU of one replica, among those that the process sees.
        gpus: GPUs of each replica, over which its weights are split; 0 computes on the CPU.
        max_adapters: most adapters in memory at a time, without those of `adapters`.
        max_rank: highest rank of adapters that are loaded later; None: of those given.
        max_model_len: most tokens of a prompt and its answer; None is the model's context.
        prefix_caching: whether prompts that begin alike share their KV cache, where the engine can.
        gpu_use: how several GPUs are used, for the results; None with fewer than two.
    """

    engine: str
    model: ModelSpec
    dtype: str
    quantization: str = "none"
    max_batch_size: int = 16
    cpus: int | None = None
    base: Path | None = None
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    replicas: int = 1
    device: int = 0
    gpus: int = 0
    max_adapters: int = 0
    max_rank: int | None = None
    max_model_len: int | None = None
    prefix_caching: bool = False
    gpu_use: str | None = None

    @property
    def longest_request(self) -> int:
        """Most tokens of a prompt and its answer."""
        return self.max_model_len or self.model.context_length


class EngineClient(Protocol):
    """What a server needs of an engine, which may be in another process."""

    async def models(self) -> list[str]:
        """Return the names that requests may use: the base model's first, then the adapters'."""
        ...

    def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer; stop computing it when the iterator is closed.

        Raises:
            InputError: the prompt is empty or longer than `max_prompt_tokens`, or does not fit the
                model's context together with `max_tokens`.
            UnknownName: no adapter of that name is loaded.
        """
        ...

    async def check(self) -> None:
        """Generate one token.

        Raises:
            StageError: the engine does not generate.
        """
        ...


class Engine(EngineClient, Protocol):
    """Turns prompts into tokens in this process."""

    def fault(self) -> str | None:
        """Return why the engine cannot answer now; None if it can."""
        ...

    def details(self) -> dict[str, Any]:
        """Return the settings that the engine runs with, for the results; may be empty."""
        ...

    async def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Load an adapter while other requests run.

        Args:
            name: name for requests; an adapter already loaded under it is replaced.
            adapter: an adapter of the same base model.

        Raises:
            InputError: the adapter is of another base model, or the name is the base's.
        """
        ...

    async def remove_adapter(self, name: str) -> None:
        """Remove an adapter, once the requests that use it have finished.

        Raises:
            UnknownName: no adapter of that name is loaded.
        """
        ...

    def close(self) -> None:
        """Stop the engine; unfinished requests fail."""
        ...
