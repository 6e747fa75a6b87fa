"""Tokens to text, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """Decodes one answer token by token. It never returns half a character.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        stop: texts that end the answer.

    Attributes:
        tokens: number of tokens decoded so far.
        stopped: whether a stop text has ended the answer.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.tokens = 0
        self.stopped = False
        self._tokenizer, self._stop = tokenizer, stop
        self._stream = DecodeStream(skip_special_tokens=True)
        self._incomplete: list[int] = []  # tokens whose text is not complete
        self._held = ""  # text that could be the beginning of a stop text
        self._begun = False  # whether any text has been returned

    def push(self, token: int, *, last: bool = False) -> str:
        """Decode one token and return the new text.

        Args:
            token: its id.
            last: return everything, complete or not.
        """
        self.tokens += 1
        text = self._held + self._decode(token, last)
        if not self._begun:
            text = text.lstrip()
        stops = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if stops:
            self.stopped = True
            return text[: min(stops)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        returned, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self._begun = self._begun or bool(returned)
        return returned

    def _decode(self, token: int, last: bool) -> str:
        self._incomplete.append(token)
        try:
            text = self._stream.step(self._tokenizer, token)
        except Exception:  # noqa: BLE001 tokenizers raises no narrower type
            # With byte fallback, one invalid byte changes how the valid ones before it are decoded.
            text = self._restart()
        if text is None and last:
            text = self._restart()
        if text is None:
            return ""
        self._incomplete.clear()
        return text

    def _restart(self) -> str:
        """Return the text of the incomplete tokens unchanged, and continue after them."""
        self._stream = DecodeStream(self._incomplete, skip_special_tokens=True)
        text: str = self._tokenizer.decode(self._incomplete, skip_special_tokens=True)
        return text


def _overlap(text: str, stop: str) -> int:
    """Return how many of the last characters of `text` could be the beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
