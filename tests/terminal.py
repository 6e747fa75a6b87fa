"""A terminal that tests can look at: a stream that says it is one, drawn by an emulator."""

from __future__ import annotations

import io

import pyte


class Terminal(io.StringIO):
    """What a program writes to, and what a person then sees."""

    def isatty(self) -> bool:
        return True

    def screen(self, columns: int = 100, lines: int = 30) -> list[str]:
        """Return the lines that are not empty."""
        screen = pyte.Screen(columns, lines)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]
