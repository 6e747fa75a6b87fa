from __future__ import annotations

import io

from medsweep.sweep.progress import SweepProgress, duration
from terminal import Terminal


def test_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    progress = SweepProgress(out)
    progress.expect({"load": 2})
    with progress.step("load", "a"):
        pass
    with progress.step("load", "b"):
        pass
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[1/2, about 0 s left] load: a")
    assert lines[1].startswith("[2/2] load: b")
    assert "\r" not in out.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten() -> None:
    out = Terminal()
    progress = SweepProgress(out)
    progress.expect({"load": 1})
    with progress.step("load", "a"):
        pass
    progress.note("done")
    first, last = out.screen()
    assert first.startswith("[1/1] load: a (")
    assert last == "done"


def test_a_line_that_stays_is_written_above_the_status() -> None:
    out = Terminal()
    progress = SweepProgress(out)
    progress.expect({"load": 2})
    with progress.step("load", "a"):
        progress.note("something happened")
        assert out.screen() == ["something happened", "[0/2] load: a"]


def test_no_estimate_before_every_kind_was_seen() -> None:
    progress = SweepProgress(io.StringIO())
    progress.expect({"load": 2, "deploy": 1})
    assert progress.eta_s is None
    with progress.step("deploy", "x"):
        pass
    assert progress.eta_s is None
    progress.skip("load", 2)
    assert progress.eta_s == 0.0


def test_durations_in_words() -> None:
    assert [duration(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 5 min"]
