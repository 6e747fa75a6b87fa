"""One request in flight: its answer so far, and its record at the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

from medsweep.loadgen.connection import Exchange
from medsweep.loadgen.failures import RequestError
from medsweep.loadgen.sse import SseParser
from medsweep.loadgen.streamed_answer import StreamedAnswer
from medsweep.metrics.request_record import RequestRecord

# An answer is parsed when it has ended, and earlier only past this, so that memory is bounded.
_MOST_UNPARSED_BYTES = 1 << 16
# After [DONE] there is only the end of the message to come; without it the connection is given up.
_GRACE_S = 1.0


class Stream(Exchange):
    """Collects the pieces of one answer with their times; parses them when there is time.

    Args:
        index: place of the request in the load, from 0.
        phase: what the request is sent for.
        question_id: what was asked.
        due_s: when it was meant to leave, in seconds on the clock; None in closed loop.
        sent_s: when it left.

    Attributes:
        failure: how it failed; None if it did not, or not yet.
    """

    def __init__(
        self,
        index: int,
        phase: Literal["warmup", "measure", "cooldown"],
        question_id: str,
        due_s: float | None,
        sent_s: float,
    ) -> None:
        super().__init__()
        self.index, self.phase, self.question_id = index, phase, question_id
        self.due_s, self.sent_s = due_s, sent_s
        self.failure: RequestError | None = None
        self._answer = StreamedAnswer()
        self._parser = SseParser()
        self._pieces: list[tuple[float, bytes]] = []
        self._unparsed_bytes = 0
        self._grace: asyncio.TimerHandle | None = None

    def end(self, at_s: float | None, failure: Exception | None = None) -> None:
        """Mark the answer as ended."""
        if self._grace is not None:
            self._grace.cancel()
        super().end(at_s, failure)

    def take(self, piece: bytes, at_s: float) -> None:
        """Add a piece of the body with the moment it came."""
        self._pieces.append((at_s, piece))
        self._unparsed_bytes += len(piece)
        if self._unparsed_bytes > _MOST_UNPARSED_BYTES:
            self.parse()
            if self.failure is not None:
                self.end(at_s, self.failure)
        elif b"[DONE]" in piece:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(_GRACE_S, self._give_up_after_done)

    def _give_up_after_done(self) -> None:
        if not self.ended.done():
            self.parse()
            if self._answer.done_s is not None:  # and not just a text that says so
                self.end(self._answer.done_s)

    def refuses(self, option: str) -> bool:
        """Whether the server rejected the request and named this option."""
        if self.status not in (400, 422):
            return False
        return option.encode() in b"".join(piece for _, piece in self._pieces)

    def begin_again(self, sent_s: float) -> None:
        """Discard the answer so far, before the request is sent again."""
        self.sent_s = sent_s
        self.status, self.reason, self.content_type, self.body_bytes = 0, "", "", 0
        self.ended_s = None
        self.ended = asyncio.get_running_loop().create_future()
        self._pieces, self._unparsed_bytes = [], 0

    @property
    def start_s(self) -> float:
        """Moment that latency runs from: when it was due, or in closed loop when it was sent."""
        return self.sent_s if self.due_s is None else self.due_s

    @property
    def first_text_s(self) -> float | None:
        """When the first text came, in seconds, as far as was parsed; None if none did."""
        return self._answer.first_text_s

    def began(self) -> bool:
        """Whether text has come; parses what is there."""
        if self.status:
            self.parse()
        return self.first_text_s is not None

    def parse(self) -> None:
        """Parse the pieces that came since the last call."""
        pieces, self._pieces, self._unparsed_bytes = self._pieces, [], 0
        if self.failure is not None:
            return
        try:
            if self.status != 200:
                raise _refusal(self.status, self.reason, b"".join(piece for _, piece in pieces))
            if self.content_type != "text/event-stream":
                kind = "html" if self.content_type == "text/html" else "garbage"
                raise RequestError(kind, f"{self.content_type}, not an event stream")
            for at_s, piece in pieces:
                for event in self._parser.feed(piece):
                    self._answer.take(event, at_s)
        except RequestError as error:
            self.failure = error
        except ValueError as error:
            self.failure = RequestError(
                "garbage", f"{type(error).__name__}: not a stream of JSON events"
            )

    def record(
        self, failure: RequestError | None, end_s: float, *, keep_text: bool
    ) -> RequestRecord:
        """Return the record of the request.

        Args:
            failure: of the connection; a failure that the answer itself shows goes before it.
            end_s: when all was over, in seconds; the end of the answer is taken where it came.
            keep_text: whether the text goes into the record.
        """
        if self.status:
            self.parse()
        answer = self._answer
        if self.failure is None:
            if failure is None and not answer.complete:
                failure = RequestError(
                    "closed_early", "the stream ended without [DONE] or a finish reason"
                )
            # A connection that breaks after [DONE] has lost nothing.
            self.failure = failure if answer.done_s is None else None
        if answer.done_s is not None:
            end_s = answer.done_s
        elif self.ended_s is not None:
            end_s = self.ended_s
        return RequestRecord(
            index=self.index,
            phase=self.phase,
            question_id=self.question_id,
            due_s=self.due_s,
            sent_s=self.sent_s,
            first_text_s=answer.first_text_s,
            end_s=end_s,
            chunk_gaps_s=answer.chunk_gaps_s,
            chunk_tokens=answer.chunk_tokens,
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            token_source=None if answer.output_tokens is None else "usage",
            finish_reason=answer.finish_reason,
            status=self.failure.kind if self.failure else "ok",
            error=self.failure.words if self.failure else None,
            text=answer.text if keep_text else "",
        )


def _refusal(status: int, reason: str, body: bytes) -> RequestError:
    """Return the failure for a status other than 200.

    Servers say that they do not know a model with 404 or 400, which by itself could mean
    anything; the code or the parameter that the error names tells it apart.
    """
    try:
        error: Any = json.loads(body.decode())["error"]
        named = {str(error.get("code")), str(error.get("param")), str(error.get("type"))}
    except (ValueError, KeyError, TypeError, AttributeError):
        named = set()
    if status in (400, 404) and named & {"model_not_found", "model", "NotFoundError"}:
        return RequestError("model_refused", f"status {status}: the server does not know the model")
    return RequestError(f"http_{status}", reason or "no reason given")
