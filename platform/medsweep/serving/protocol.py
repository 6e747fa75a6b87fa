"""What goes between the HTTP ingress and an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from medsweep.models.templates import Message


@dataclass(frozen=True)
class Generation:
    """One request for tokens.

    Attributes:
        model: an adapter's name, or the base model's.
        messages: a conversation, which the engine writes with the model's template; or None.
        prompt: a text to continue as it is; or None.
        max_tokens: longest answer.
        temperature: 0 is greedy.
        top_p: share of probability to sample from.
        stop: texts that end the answer, themselves left out.
        seed: of sampling; None draws one.
    """

    model: str
    messages: tuple[Message, ...] | None
    prompt: str | None
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Delta:
    """A piece of an answer.

    Attributes:
        text: new text; empty where the tokens so far end inside a character.
        output_tokens: tokens so far.
        prompt_tokens: tokens of the prompt.
        finish_reason: set on the last piece.
    """

    text: str
    output_tokens: int
    prompt_tokens: int
    finish_reason: Literal["stop", "length"] | None = None


class Engine(Protocol):
    """Turns prompts into tokens."""

    def models(self) -> list[str]:
        """Return the names that requests may use: the base model's first, then the adapters'."""
        ...

    def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer; stop computing it when the iterator is closed."""
        ...
