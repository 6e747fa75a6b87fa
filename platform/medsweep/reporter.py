"""What a person sees while a command runs: lines that stay, and a status that is redrawn below."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.live import Live

_REDRAW_S, _PLAIN_EVERY_S = 1.0, 30.0


def harmless(text: str, keep: str = "") -> str:
    """Return text whose control characters are written as escapes.

    Names in files of others may hold newlines, which forge lines of a log, and escape sequences,
    which a terminal obeys.

    Args:
        text: what to show.
        keep: control characters that stay, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text
    )


class Reporter:
    """Writes lines, and on a terminal a status below them.

    Without a terminal (a file, a pipe, a dumb terminal, a notebook) there is no status: callers
    write a line where one is wanted.

    Args:
        out: where to write; None is standard error.

    Attributes:
        is_terminal: whether a status is shown.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        from rich.console import Console

        self._out = out or sys.stderr
        self._console = Console(file=self._out, highlight=False, force_jupyter=False)
        self.is_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live: Live | None = None

    @property
    def every_s(self) -> float:
        """Seconds between two redraws of the status, or between two lines in its place."""
        return _REDRAW_S if self.is_terminal else _PLAIN_EVERY_S

    @property
    def height(self) -> int:
        """Lines of the terminal."""
        return self._console.size.height

    def line(self, text: str) -> None:
        """Write a line that stays, above the status; control characters become escapes."""
        text = harmless(text, keep="\n\t")
        if self._live is None:
            self._out.write(f"{text}\n")
            self._out.flush()
        else:
            from rich.text import Text

            self._console.print(Text(text), soft_wrap=True)

    def status(self, lines: Sequence[str]) -> None:
        """Show lines in place of the status before; each is cut to the terminal's width."""
        if not self.is_terminal:
            return
        from rich.live import Live
        from rich.text import Text

        shown = Text("\n".join(map(harmless, lines)), no_wrap=True, overflow="ellipsis")
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            # The cursor is hidden while there is a status, and must come back however this ends.
            atexit.register(self.clear)
        self._live.update(shown, refresh=True)

    def clear(self) -> None:
        """Remove the status, so that others can write to the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            atexit.unregister(self.clear)
