"""What the load generator notes of one request, and the times that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

MOST_WITH_THE_FIRST = 0.2
"""An answer has no TPOT if a larger share of its other tokens came together with the first."""

Phase = Literal["warmup", "measure", "cooldown"]


@dataclass(frozen=True)
class RequestRecord:
    """One request as the client saw it; all times are seconds on one monotonic clock.

    Failed requests have times too: select `status == "ok"` before summarizing latency.

    Attributes:
        index: place of the request in the load, from 0.
        phase: what the request was sent for; only `measure` gives latency samples.
        question_id: the question that was asked.
        due_s: when the request was meant to leave; None in closed loop, which has no due time.
        sent_s: when it left.
        first_text_s: when the first chunk that carries text came (role-only and keep-alive
            events do not count); None if none did.
        end_s: when the answer, or the failure, was complete.
        chunk_gaps_s: gaps between successive text chunks, one fewer than there are chunks.
        chunk_tokens: tokens that each text chunk held; None where the server does not say.
        prompt_tokens: tokens of the prompt; None if unknown.
        output_tokens: tokens of the whole answer; None if unknown.
        token_source: who counted the tokens: the server's `usage` or our tokenizer.
        finish_reason: the server's own word for why it stopped.
        status: `ok` or a kind of failure.
        error: the failure in words; None if there was none.
        text: the answer. Left out of `repr`, because it may be patient data.

    Raises:
        ValueError: `chunk_tokens` does not hold one count per text chunk.
    """

    index: int
    phase: Phase
    question_id: str
    due_s: float | None
    sent_s: float
    first_text_s: float | None
    end_s: float
    chunk_gaps_s: tuple[float, ...]
    chunk_tokens: tuple[int, ...] | None
    prompt_tokens: int | None
    output_tokens: int | None
    token_source: Literal["usage", "tokenizer"] | None
    finish_reason: str | None
    status: str
    error: str | None
    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.chunk_tokens is None:
            return
        if len(self.chunk_gaps_s) != max(len(self.chunk_tokens) - 1, 0):
            raise ValueError(
                f"request {self.index}: {len(self.chunk_tokens)} text chunks cannot have "
                f"{len(self.chunk_gaps_s)} gaps between them"
            )

    @property
    def start_s(self) -> float:
        """Moment that latency runs from: when it was due, or in closed loop when it was sent."""
        return self.sent_s if self.due_s is None else self.due_s

    @property
    def ttft_s(self) -> float | None:
        """Time to first text, `first_text_s - start_s`, in seconds; None without text."""
        return None if self.first_text_s is None else self.first_text_s - self.start_s

    @property
    def e2e_s(self) -> float:
        """End-to-end time, `end_s - start_s`, in seconds."""
        return self.end_s - self.start_s

    @property
    def service_s(self) -> float:
        """Time from sending to the end, `end_s - sent_s`, in seconds."""
        return self.end_s - self.sent_s

    @property
    def dispatch_delay_s(self) -> float | None:
        """How late the client sent, `sent_s - due_s`, in seconds; None in closed loop."""
        return None if self.due_s is None else self.sent_s - self.due_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first, in seconds per token.

        Returns:
            `(e2e_s - ttft_s) / (output_tokens - 1)`; None for an unknown count, for fewer than two
            tokens, and where over a fifth of those after the first came with it: their time is in
            TTFT, so that the quotient is too small by that share.
        """
        if self.ttft_s is None or self.output_tokens is None or self.output_tokens < 2:
            return None
        if self._with_the_first > MOST_WITH_THE_FIRST:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)

    @property
    def _with_the_first(self) -> float:
        """Share of the tokens after the first that came in the same read as the first.

        Of an answer whose chunks are not counted, each chunk counts as an equal share of it.
        """
        tokens = self.output_tokens or 0
        chunks = 1 + len(self.chunk_gaps_s)
        first = 1 + next((n for n, gap_s in enumerate(self.chunk_gaps_s) if gap_s), chunks - 1)
        if self.chunk_tokens is not None:
            came: float = sum(self.chunk_tokens[:first])
        else:
            came = tokens * first / chunks
        return (came - 1) / (tokens - 1)

    @property
    def is_coarse(self) -> bool:
        """Whether it has no TPOT because too much of it came first, though not all of it."""
        several = self.first_text_s is not None and (self.output_tokens or 0) > 1
        return several and self.tpot_s is None and not self.came_at_once

    @property
    def came_at_once(self) -> bool:
        """Whether text that was more than one token, as far as is known, came in one read."""
        several = bool(self.chunk_gaps_s) or (self.output_tokens or 0) > 1
        return self.ttft_s is not None and several and not any(self.chunk_gaps_s)

    @property
    def itl_s(self) -> tuple[float, ...]:
        """Latency between tokens, in seconds, one sample per token where that is known.

        Returns:
            For each chunk after the first, its gap divided by the `k` tokens it held, `k` times
            over; the raw gaps between chunks where the server does not say what they held. Empty
            where all chunks came in one read: a proxy collected them.
        """
        if not any(self.chunk_gaps_s):
            return ()
        if self.chunk_tokens is None:
            return self.chunk_gaps_s
        samples: list[float] = []
        waited_s = 0.0
        for gap_s, tokens in zip(self.chunk_gaps_s, self.chunk_tokens[1:], strict=True):
            # A chunk without a token of its own is waiting time of the next token.
            waited_s += gap_s
            if tokens:
                samples += [waited_s / tokens] * tokens
                waited_s = 0.0
        return tuple(samples)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, the text included."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RequestRecord:
        """Return the record that `to_json` wrote.

        Raises:
            TypeError: a field is missing, or there is one too many.
        """
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**known)
