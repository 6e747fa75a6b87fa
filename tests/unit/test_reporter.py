"""What a person sees while a command runs."""

from __future__ import annotations

import io

import pytest

from medsweep.reporter import Reporter, harmless
from terminal import Terminal


def test_without_a_terminal_only_lines_are_written() -> None:
    out = io.StringIO()
    reporter = Reporter(out)
    reporter.status(["1 of 2"])
    reporter.line("one")
    assert out.getvalue() == "one\n"
    assert not reporter.is_terminal


def test_a_status_is_redrawn_below_the_lines_that_stay() -> None:
    out = Terminal()
    reporter = Reporter(out)
    reporter.status(["1 of 2"])
    reporter.line("one [bold]is[/] done")
    reporter.status(["2 of 2"])
    assert out.screen() == ["one [bold]is[/] done", "2 of 2"]


def test_a_cleared_status_leaves_nothing_and_gives_the_cursor_back() -> None:
    out = Terminal()
    reporter = Reporter(out)
    reporter.status(["first", "second"])
    reporter.clear()
    reporter.line("end")
    assert out.screen() == ["end"]
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_a_long_line_of_the_status_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    Reporter(out).status(["x" * 100])
    (line,) = out.screen(40)
    assert line == "x" * 39 + "…"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not Reporter(Terminal()).is_terminal


def test_control_characters_are_written_as_escapes() -> None:
    assert harmless("Grüße, 95 % §") == "Grüße, 95 % §"
    assert harmless("a\x1b]0;title\x07b") == r"a\x1b]0;title\x07b"
    assert harmless("a\nb\rc", keep="\n") == "a\nb\\rc"
    assert harmless("\u202egnp.exe") == r"\u202egnp.exe"


def test_a_line_cannot_command_the_terminal() -> None:
    out = io.StringIO()
    Reporter(out).line("fetched \x1b[2Jadapter")
    assert out.getvalue() == "fetched \\x1b[2Jadapter\n"


def test_a_status_cannot_command_the_terminal() -> None:
    out = Terminal()
    Reporter(out).status(["cell \x1b[2Jone"])
    assert out.screen() == [r"cell \x1b[2Jone"]
