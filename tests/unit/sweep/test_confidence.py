"""Log-probabilities of the timed answers, which a sweep asks for after each load."""

from __future__ import annotations

from collections import Counter

import pytest

from faked_sweep import HERE, FakedSweep, sweep
from medsweep.errors import InputError
from medsweep.sweep import confidence, run


def test_confidence_is_asked_for_once_per_answer_and_only_on_request(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def logprobs(_: str, model: str, prompt: str, answer: str, *, timeout_s: float) -> list[float]:
        asked.append((model, prompt))
        assert answer
        return [-0.5, -1.5]

    monkeypatch.setattr(confidence, "answer_logprobs", logprobs)
    run.run_sweep(sweep(), ran.out)
    row = ran.rows(HERE)[0]
    assert asked == []
    assert row["confidence_by"] == "not asked for: quality.confidence is false"
    assert row["confidence_questions"] is None
    run.run_sweep(sweep(quality={"confidence": True}), ran.out)
    row = ran.rows(HERE)[0]
    assert row["confidence_by"] == confidence.ASKED
    assert row["confidence_questions"] == row["questions"]
    assert row["confidence_f1"] is None, "all answers are equally sure"
    assert row["surest_f1"] == pytest.approx(row["token_f1"])
    assert row["coverage_f1_area"] == pytest.approx(row["token_f1"])
    assert row["coverage_f1_area_low"] is None, "too few questions for a bootstrap"
    assert set(Counter(asked).values()) == {2}, "once per cell: the repeats have the same answers"
    assert all("### Response" in prompt for _, prompt in asked)


def test_an_engine_without_log_probabilities_says_so(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> list[float]:
        raise InputError("this engine gives no log-probabilities")

    monkeypatch.setattr(confidence, "answer_logprobs", refuse)
    summary = run.run_sweep(sweep(quality={"confidence": True}), ran.out)
    assert summary.states["ok"] == 2
    row = ran.rows(HERE)[0]
    assert (row["surest_f1"], row["confidence_by"]) == (None, confidence.NOT_GIVEN)
