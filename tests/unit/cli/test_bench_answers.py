"""Grades and lengths of the answers of a load test, by answers whose grade is known."""

from __future__ import annotations

from made_rows import request_record
from medsweep.cli.bench_answers import Answers
from medsweep.datasets.spec import Pair
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.metrics.request_record import RequestRecord

POINT = LoadPoint(concurrency=1, requests=4)
PAIRS = {
    "a": Pair("a", "What is gout?", "a disease of the joints"),
    "b": Pair("b", "What is flu?", "an infection"),
}
JOB = LoadJob(
    base_url="http://x/v1",
    model="m",
    prompts=tuple(Prompt(pair.question_id, pair.question) for pair in PAIRS.values()),
    point=POINT,
    seed=0,
    max_tokens=8,
)


def record(index: int, question: str, text: str, **fields: object) -> RequestRecord:
    given: dict[str, object] = {
        "index": index,
        "question_id": question,
        "first_text_s": 0.1,
        "end_s": 0.2,
        "chunk_gaps_s": (),
        "chunk_tokens": None,
        "prompt_tokens": 5,
        "text": text,
    }
    return request_record(**{**given, **fields})  # type: ignore[arg-type]


def test_the_measured_answers_are_graded() -> None:
    answers = Answers(JOB, PAIRS, None)
    records = [
        record(0, "a", "a disease of the joints"),
        record(1, "b", "something else entirely", finish_reason="length"),
        record(2, "b", "an infection", phase="warmup"),
        record(3, "b", "", status="timeout"),
    ]
    answers.add(POINT, 1, records)
    columns = answers.columns[POINT, 1]
    assert columns["questions"] == 2
    assert columns["token_f1"] == 0.5, "one is the reference, one shares no word with it"
    assert columns["truncated_share"] == 0.5
    result = {"points": [{"load": {"name": "c1"}, "repeat": 1}]}
    answers.complete(result)
    assert result["points"][0]["quality"] == columns  # type: ignore[comparison-overlap]
    assert "lengths" not in result
    [line] = answers.lines()
    assert line.startswith("answers at 1 client, repeat 1: 2 questions: ")
    assert line.endswith("50 % cut off at the token limit")


def test_a_load_without_answers_has_no_grades() -> None:
    answers = Answers(JOB, PAIRS, None)
    answers.add(POINT, 1, [record(0, "a", "", status="timeout")])
    assert answers.columns == {}
    result = {"points": [{"load": {"name": "c1"}, "repeat": 1}]}
    answers.complete(result)
    assert result["points"][0]["quality"] is None  # type: ignore[comparison-overlap]
