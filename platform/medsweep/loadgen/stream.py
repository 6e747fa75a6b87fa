"""One request in flight: its answer so far, and its record at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Literal
from urllib.parse import urlsplit

from medsweep.loadgen.connection import Exchange
from medsweep.loadgen.failures import RequestError
from medsweep.loadgen.server_errors import describe_bytes, find_error
from medsweep.loadgen.spec import Prompt
from medsweep.loadgen.sse import SseParser
from medsweep.loadgen.streamed_answer import StreamedAnswer
from medsweep.metrics.request_record import RequestRecord

# An answer is parsed when it has ended, and earlier only past this, so that memory is bounded.
_MOST_UNPARSED_BYTES = 1 << 16
# After [DONE] only the end of the message is to come, mostly with the same read. It is awaited so
# that the next request finds the connection free, but not for longer than would show.
_GRACE_S = 0.001
# A line that is [DONE] and no text that speaks of it: JSON has no bare newlines.
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_DONE_BYTES = 16
# What an event stream begins with. Servers also send it as text/plain, or without a type.
_STREAM_START = re.compile(rb"(?:data|event|id|retry|error)?:")
_START_BYTES = 8
_UNKNOWN = re.compile(
    rb"max_completion_tokens|\bnot (?:supported|recognized|known|expected|permitted|allowed)"
    rb"|\bun(?:supported|recognized|known|expected)|\bextra",
    re.IGNORECASE,
)


class Stream(Exchange):
    """Collects the pieces of one answer with their times; parses them when there is time.

    Args:
        index: place of the request in the load, from 0.
        phase: what the request is sent for.
        prompt: what is asked.
        due_s: when it was meant to leave, in seconds on the clock; None in closed loop.
        sent_s: when it left.

    Attributes:
        failure: how it failed; None if it did not, or not yet.
    """

    def __init__(
        self,
        index: int,
        phase: Literal["warmup", "measure", "cooldown"],
        prompt: Prompt,
        due_s: float | None,
        sent_s: float,
    ) -> None:
        super().__init__()
        self.index, self.phase, self._prompt = index, phase, prompt
        self.due_s, self.sent_s = due_s, sent_s
        self.failure: RequestError | None = None
        self._answer = StreamedAnswer()
        self._parser = SseParser()
        self._pieces: list[tuple[float, bytes]] = []
        self._tail = b"\n"
        self._is_stream: bool | None = None
        self._document = bytearray()
        self._unparsed_bytes = 0
        self._grace: asyncio.TimerHandle | None = None

    def end(self, at_s: float | None, failure: Exception | None = None) -> None:
        """Mark the answer as ended."""
        if self._grace is not None:
            self._grace.cancel()
        super().end(at_s, failure)

    def take(self, piece: bytes, at_s: float) -> None:
        """Add a piece of the body with the moment it came."""
        if self.ended.done():
            return
        self._pieces.append((at_s, piece))
        self._unparsed_bytes += len(piece)
        if self._unparsed_bytes > _MOST_UNPARSED_BYTES:
            self.parse()
            if self.failure is not None:
                self.end(at_s, self.failure)
                return
        window = self._tail + piece
        self._tail = window[-_DONE_BYTES:]
        if b"[DONE]" in window and _DONE.search(window):
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(_GRACE_S, self.end, at_s)

    def refuses(self, *names: str) -> bool:
        """Whether the server rejected the request and named one of these parameters."""
        if self.status not in (400, 422):
            return False
        body = self._unparsed()
        return any(re.search(rf"\b{name}\b".encode(), body) for name in names)

    def refuses_as_unknown(self, name: str) -> bool:
        """Whether it rejected the request because it does not take the parameter at all.

        A value out of range names the parameter too.
        """
        return self.refuses(name) and _UNKNOWN.search(self._unparsed()) is not None

    def _unparsed(self) -> bytes:
        return bytes(self._document) + b"".join(piece for _, piece in self._pieces)

    def begin_again(self, sent_s: float) -> None:
        """Discard the answer so far, before the request is sent again."""
        self.reset()
        self.sent_s = sent_s
        self._pieces, self._unparsed_bytes, self._tail = [], 0, b"\n"
        self._is_stream, self._document = None, bytearray()

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

    def parse(self, *, ended: bool = False) -> None:
        """Parse the pieces that came since the last call.

        Args:
            ended: whether they are the last.
        """
        if self.failure is not None:
            self._pieces, self._unparsed_bytes = [], 0
            return
        if self._is_stream is None:
            start = self._unparsed().removeprefix(b"\xef\xbb\xbf").lstrip()
            if len(start) < _START_BYTES and not ended:
                return  # cannot be told yet
            self._is_stream = self._begins_stream(start)
        pieces, self._pieces, self._unparsed_bytes = self._pieces, [], 0
        try:
            if not self._is_stream:
                self._document += b"".join(piece for _, piece in pieces)
                if ended or len(self._document) > _MOST_UNPARSED_BYTES:
                    raise self._no_stream()
                return
            for at_s, piece in pieces:
                for data, form in self._parser.feed(piece):
                    self._answer.take(data, at_s, form)
        except RequestError as error:
            self.failure = error
        except ValueError as error:
            self.failure = RequestError(
                "garbage", f"{type(error).__name__}: not a stream of JSON events"
            )

    def _begins_stream(self, start: bytes) -> bool:
        if self.status != 200 or self.content_encoding:
            return False
        if _STREAM_START.match(start):
            return True
        if not start and not self.content_type:
            return True
        return self.content_type == "text/event-stream" and not start.startswith((b"{", b"[", b"<"))

    def _no_stream(self) -> RequestError:
        """Return the failure of an answer that is no event stream."""
        body = bytes(self._document)
        told = f"content-type {self.content_type or 'missing'}, not an event stream"
        if self.status != 200:
            return _refusal(self, body)
        if self.content_encoding:
            return RequestError(
                "compressed", f"content-encoding {self.content_encoding}, but identity was asked"
            )
        if self.content_type == "text/html" or body.lstrip().startswith(b"<"):
            return RequestError("html", told)
        try:
            value, _ = json.JSONDecoder().raw_decode(body.decode(errors="replace").lstrip())
            error = find_error(value)
        except (ValueError, RecursionError):
            error = None
        if error is None:
            return RequestError("garbage", told)
        return RequestError("server_error", error.kind or "no type given", error.message)

    def _parse_end(self) -> None:
        """Parse the last pieces, and an event that the end of the stream has cut short."""
        if not self.status:
            return
        self.parse(ended=True)
        if self.failure is not None:
            return
        last_s = self.ended_s if self.ended_s is not None else self.sent_s
        # An event without its last empty line counts if it is complete in itself.
        with contextlib.suppress(ValueError):
            try:
                for data, form in self._parser.end():
                    self._answer.take(data, last_s, form)
            except RequestError as error:
                self.failure = error

    def record(
        self, failure: RequestError | None, end_s: float, *, keep_text: bool
    ) -> RequestRecord:
        """Return the record of the request.

        Args:
            failure: of the connection; a failure that the answer itself shows goes before it.
            end_s: when all was over, in seconds; the end of the answer is taken where it came.
            keep_text: whether the text goes into the record.
        """
        self._parse_end()
        answer = self._answer
        if self.failure is None:
            if failure is None and answer.is_foreign:
                failure = RequestError("garbage", "no event of the stream is a completion chunk")
            elif failure is None and not answer.complete:
                failure = RequestError(
                    "closed_early", "the stream ended without [DONE] or a finish reason"
                )
            # A connection that breaks after [DONE] has lost nothing.
            lost = answer.done_s is None or answer.is_foreign
            self.failure = failure if lost else None
        if answer.done_s is not None:
            end_s = answer.done_s
        elif self.ended_s is not None:
            end_s = self.ended_s
        return RequestRecord(
            index=self.index,
            phase=self.phase,
            question_id=self._prompt.question_id,
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
            error=self.failure.told(self._prompt.text, answer.text) if self.failure else None,
            text=answer.text if keep_text else "",
        )


def _refusal(stream: Stream, body: bytes) -> RequestError:
    """Return the failure for a status other than 200.

    Servers say that they do not know a model with 404 or 400, which by itself could mean
    anything; the code or the parameter that the error names tells it apart.
    """
    status, reason = stream.status, stream.reason or "no reason given"
    if 300 <= status < 400:
        where = urlsplit(stream.location)
        target = where._replace(netloc=where.netloc.rpartition("@")[2], query="", fragment="")
        return RequestError(f"http_{status}", f"{reason}, to {target.geturl() or 'nowhere'}")
    error = describe_bytes(body)
    if status in (400, 404) and error.names & {"model_not_found", "model", "NotFoundError"}:
        words = f"status {status}: the server does not know the model"
        return RequestError("model_refused", words, error.message)
    return RequestError(f"http_{status}", reason, error.message)
