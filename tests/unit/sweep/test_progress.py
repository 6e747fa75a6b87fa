from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from made_rows import request_record
from medsweep.metrics.request_record import RequestRecord
from medsweep.sweep.progress import SweepProgress, duration
from terminal import Terminal


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    progress = SweepProgress(out, now=Clock())
    progress.expect({"load": 2})
    with progress.step("load", "a"):
        pass
    with progress.step("load", "b"):
        pass
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[1/2, 0 s, about 0 s left] load: a")
    assert lines[1].startswith("[2/2, 0 s] load: b")
    assert "\r" not in out.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten() -> None:
    out = Terminal()
    progress = SweepProgress(out, now=Clock())
    progress.expect({"load": 1})
    with progress.step("load", "a"):
        pass
    progress.note("done")
    first, last = out.screen()
    assert first.startswith("[1/1, 0 s] load: a (")
    assert last == "done"


def test_a_line_that_stays_is_written_above_the_status() -> None:
    out = Terminal()
    progress = SweepProgress(out, now=Clock())
    progress.expect({"load": 2})
    with progress.step("load", "a"):
        progress.note("something happened")
        assert out.screen() == ["something happened", "[0/2, 0 s] load: a"]


def left(progress: SweepProgress) -> str | None:
    """The time left, as the status line says it."""
    words = progress.state["status"].partition("]")[0].split(", ")
    return words[2].removesuffix(" left") if len(words) == 3 else None


def test_no_estimate_before_every_kind_was_seen() -> None:
    progress = SweepProgress(io.StringIO(), now=Clock())
    progress.expect({"load": 2, "deploy": 1})
    assert left(progress) is None
    with progress.step("deploy", "x"):
        pass
    assert left(progress) is None
    progress.skip("load", 2)
    assert progress.state["status"].startswith("[3/3, 0 s]")


def test_the_time_left_is_predicted_then_seen() -> None:
    clock = Clock()
    progress = SweepProgress(io.StringIO(), now=clock)
    progress.expect({"fine-tune": 2, "load": 3}, {"fine-tune": 100.0, "load": 10.0})
    assert left(progress) == "about 3 min 50 s", "from the first second"
    with progress.step("fine-tune", "a"):
        clock.now_s += 30
        assert left(progress) == "about 3 min 20 s"
        clock.now_s += 130
        assert left(progress) == "about 2 min 10 s", (
            "what takes longer than predicted is nearly over, at best"
        )
    assert left(progress) == "about 3 min 10 s", "the next takes as long as this one did"
    with progress.step("fine-tune", "b"):
        clock.now_s += 40
        progress.detail("half", 0.5)
        assert left(progress) == "about 1 min 10 s"


def test_without_a_prediction_the_share_of_the_running_step_tells() -> None:
    clock = Clock()
    progress = SweepProgress(io.StringIO(), now=clock)
    progress.expect({"fine-tune": 2})
    with progress.step("fine-tune", "a"):
        clock.now_s += 10
        assert left(progress) is None
        progress.detail("a quarter", 0.25)
        assert left(progress) == "about 1 min 10 s"


def test_a_part_that_is_known_is_said_to_be_a_part() -> None:
    progress = SweepProgress(io.StringIO(), now=Clock())
    progress.expect({"deploy": 1, "load": 6}, {"load": 20.0})
    assert left(progress) == "at least 2 min 0 s"
    with progress.step("deploy", "a"):
        assert progress.state["status"] == "[0/7, 0 s, at least 2 min 0 s left] deploy: a"


def record(index: int, sent_s: float, end_s: float, **fields: Any) -> RequestRecord:
    given = {
        "index": index,
        "sent_s": sent_s,
        "first_text_s": sent_s + 0.25,
        "end_s": end_s,
        "chunk_gaps_s": (),
        "chunk_tokens": None,
        "prompt_tokens": None,
        "output_tokens": None,
        "token_source": None,
        "finish_reason": None,
    }
    return request_record(**{**given, **fields})


def test_a_load_shows_its_rate_and_time_to_first_token() -> None:
    progress = SweepProgress(io.StringIO(), now=Clock())
    progress.expect({"load": 1}, {"load": 60.0})
    with progress.step("load", "cell c4-1"):
        take = progress.load(8)
        take(record(0, 0.0, 0.5, phase="warmup"))
        assert progress.state["status"].endswith("load: cell c4-1")
        take(record(1, 1.0, 2.0))
        take(record(2, 1.0, 3.0, status="timeout", first_text_s=None))
        assert progress.state["status"].endswith(
            "load: cell c4-1: 2 of 8 requests, 1 requests/s, TTFT 250 ms, 1 failed"
        )


def test_a_fine_tune_shows_its_step_loss_and_speed() -> None:
    progress = SweepProgress(io.StringIO(), now=Clock())
    progress.expect({"fine-tune": 1})
    with progress.step("fine-tune", "m@host"):
        progress.training({"step": 5, "steps": 20, "loss": 2.3456, "tokens_per_s": 812.3})
        assert progress.state["status"].endswith(
            "fine-tune: m@host: step 5 of 20, loss 2.346, 812 tokens/s"
        )


def test_a_long_step_goes_on_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsweep.reporter._PLAIN_EVERY_S", 0.01)
    written = threading.Event()

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if "step 1 of 9" in text:
                written.set()
            return super().write(text)

    out = Out()
    progress = SweepProgress(out)
    progress.expect({"fine-tune": 1})
    with progress.step("fine-tune", "m@host"):
        progress.training({"step": 1, "steps": 9, "loss": 2.0, "tokens_per_s": None})
        assert written.wait(60)


def test_a_step_that_fails_ends_too() -> None:
    out = io.StringIO()
    progress = SweepProgress(out)
    progress.expect({"load": 1})
    with pytest.raises(ValueError, match="x"), progress.step("load", "a"):
        raise ValueError("x")
    assert out.getvalue() == ""
    assert not [each for each in threading.enumerate() if each.name == "progress"]


def test_durations_in_words() -> None:
    assert [duration(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 5 min"]


def test_a_phase_is_shown_and_not_counted() -> None:
    out = Terminal()
    progress = SweepProgress(out, now=Clock())
    progress.expect({"load": 1}, {"load": 7.0})
    with progress.phase("start Ray"):
        assert out.screen() == ["[0/1, 0 s, about 7 s left] start Ray"]
    with progress.step("load", "a"):
        assert out.screen() == ["[0/1, 0 s, about 7 s left] load: a"]
