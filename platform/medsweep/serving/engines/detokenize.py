"""Tokens to text, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\N{REPLACEMENT CHARACTER}"

WINDOW = 64
"""Tokens that are decoded anew with each token; so many, however long the answer is."""

CONTEXT = 8
"""Tokens before them that stay in the window, because a token's text can depend on them."""


class TextStream:
    """Decodes one answer as its tokens come, never giving out half a character.

    Args:
        tokenizer: decodes token ids.
        stop: texts that end the answer.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._ids: list[int] = []
        self._given = 0
        self._settled = ""  # text that later tokens do not change
        self._window = 0  # the first token that is decoded anew
        self._overlap = 0  # characters of the window's text that are settled
        self.stopped = False

    @property
    def tokens(self) -> int:
        """Number of tokens taken so far."""
        return len(self._ids)

    def push(self, token: int, *, last: bool = False) -> str:
        """Take one token and return the new text.

        Args:
            token: its id.
            last: give out everything, finished or not.
        """
        self._ids.append(token)
        return self._flush(last)

    def _flush(self, last: bool) -> str:
        text = self._text().lstrip()
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            text, self.stopped, last = text[: min(found)], True, True
        if not last:
            # With byte fallback each byte of an unfinished character is a mark of its own.
            text = text.rstrip(UNFINISHED)
            held = max((_common(text, stop) for stop in self._stop), default=0)
            text = text[: len(text) - held]
        new = text[self._given :]
        self._given = max(self._given, len(text))
        return new

    def _text(self) -> str:
        """Return the text of all tokens, decoding those of the window."""
        text = self._settled + self._decode(self._window)[self._overlap :]
        if len(self._ids) - self._window > WINDOW:
            context = len(self._ids) - CONTEXT
            again = self._decode(context)
            # Else the cut is inside a character, or the tokenizer reads the tokens otherwise.
            if UNFINISHED not in again and text.endswith(again):
                self._settled, self._window, self._overlap = text, context, len(again)
        return text

    def _decode(self, first: int) -> str:
        text: str = self._tokenizer.decode(self._ids[first:], skip_special_tokens=True)
        return text


def _common(text: str, stop: str) -> int:
    """Return how many last characters of `text` could be the beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
