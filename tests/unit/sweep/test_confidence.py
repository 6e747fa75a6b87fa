"""Log-probabilities of the timed answers, which a sweep asks for after each load."""

from __future__ import annotations

from collections import Counter

import pytest

from faked_sweep import HERE, FakedSweep, sweep
from medsweep.errors import InputError
from medsweep.results.store import read_rows
from medsweep.serving.engines.choice import NAMED, Choice
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


def test_an_answer_that_is_refused_leaves_the_others_their_confidence(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logprobs(_: str, model: str, prompt: str, answer: str, *, timeout_s: float) -> list[float]:
        if answer == "nothing":
            raise InputError("the prompt does not fit")
        return [-float(len(answer))]

    monkeypatch.setattr(confidence, "answer_logprobs", logprobs)
    run.run_sweep(sweep(quality={"confidence": True}), ran.out)
    row = ran.rows(HERE)[0]
    path = ran.out / "small" / "cells" / row["key"] / "responses.parquet"
    answers = [each for each in read_rows(path) if each["variant"] == "adapter"]
    expected = [None if each["answer"] == "nothing" else -len(each["answer"]) for each in answers]
    assert [each["token_logprob_mean"] for each in answers] == expected
    assert {None} < set(expected)
    assert row["confidence_by"].startswith(
        f"{confidence.ASKED}; 3 of 6 answers left out: the server refused them"
    )
    assert "does not fit" not in row["confidence_by"], "the message may quote the prompt"
    # Of the six questions, three are answered with their own words.
    assert (row["questions"], row["confidence_questions"]) == (6, 3)
    assert row["surest_f1"] is not None


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


@pytest.mark.parametrize(
    ("engine", "adapters", "why"),
    [
        (
            "vllm",
            "live",
            "engine vllm gives no log-probabilities beside live adapters; set serve.adapters: "
            "merged",
        ),
        (
            "openvino",
            "live",
            "engine openvino gives no log-probabilities; set serve.engine: generate or continuous",
        ),
        ("continuous", "live", confidence.NOT_GIVEN),
    ],
)
def test_what_gives_no_log_probabilities_is_named_with_its_remedy(
    engine: str, adapters: str, why: str
) -> None:
    assert confidence.why_none(Choice(engine, NAMED, adapters, NAMED, None)) == why
