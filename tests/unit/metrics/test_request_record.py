import json
from typing import Any

import pytest

from made_rows import request_record
from medsweep.metrics.request_record import RequestRecord


def record(**changes: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "question_id": "q1",
        "due_s": 10.0,
        "sent_s": 10.5,
        "first_text_s": 12.0,
        "end_s": 15.0,
        "chunk_gaps_s": (1.0, 2.0),
        "chunk_tokens": (2, 1, 4),
        "prompt_tokens": 20,
        "output_tokens": 7,
        "text": "Rest and drink.",
    }
    return request_record(**(values | changes))


def test_open_loop_runs_from_the_due_time() -> None:
    late = record()
    assert late.start_s == 10.0
    assert late.ttft_s == 2.0
    assert late.e2e_s == 5.0
    assert late.service_s == 4.5
    assert late.dispatch_delay_s == 0.5


def test_closed_loop_runs_from_the_send_and_has_no_dispatch_delay() -> None:
    closed = record(due_s=None)
    assert closed.start_s == 10.5
    assert closed.ttft_s == 1.5
    assert closed.e2e_s == closed.service_s == 4.5
    assert closed.dispatch_delay_s is None


def test_due_at_zero_is_a_due_time() -> None:
    assert record(due_s=0.0).start_s == 0.0
    assert record(due_s=0.0).dispatch_delay_s == 10.5


def test_tpot_leaves_ttft_and_the_first_token_out() -> None:
    assert record().tpot_s == 0.5  # 3 s after the first text, 6 tokens after the first
    assert record(first_text_s=14.4).tpot_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    "changes", [{"output_tokens": 1}, {"output_tokens": 0}, {"output_tokens": None}]
)
def test_tpot_is_null_for_one_token_or_an_unknown_count(changes: dict[str, Any]) -> None:
    assert record(**changes).tpot_s is None


def test_without_text_there_is_no_ttft_and_no_tpot() -> None:
    silent = record(first_text_s=None, chunk_gaps_s=(), chunk_tokens=())
    assert silent.ttft_s is None
    assert silent.tpot_s is None
    assert silent.itl_s == ()
    assert silent.e2e_s == 5.0


def test_itl_is_per_token_where_the_chunks_are_counted() -> None:
    assert record().itl_s == (1.0, 0.5, 0.5, 0.5, 0.5)


def test_itl_is_the_raw_gaps_where_they_are_not() -> None:
    assert record(chunk_tokens=None).itl_s == (1.0, 2.0)


def test_a_chunk_without_a_token_is_waiting_time_of_the_next() -> None:
    assert record(chunk_tokens=(2, 0, 2)).itl_s == (1.5, 1.5)


def test_an_answer_in_one_chunk_has_no_itl_and_no_tpot_rather_than_zero() -> None:
    for end_s in (12.0, 15.0):  # the stream may end long after the one chunk
        one = record(chunk_gaps_s=(), chunk_tokens=(700,), output_tokens=700, end_s=end_s)
        assert one.itl_s == ()
        assert one.tpot_s is None


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(("chunks", "known"), [(2, False), (3, False), (4, False), (10, True)])
def test_few_large_chunks_do_not_tell_the_time_per_token(
    chunks: int, known: bool, counted: bool
) -> None:
    """A server makes a token every 10 ms and sends 600 of them in equal chunks.

    The first chunk comes when its last token is made, so its other tokens take no time after it.
    """
    size = 600 // chunks
    answer = record(
        due_s=None,
        sent_s=0.0,
        first_text_s=size * 0.01,
        end_s=6.0,
        chunk_gaps_s=(size * 0.01,) * (chunks - 1),
        chunk_tokens=(size,) * chunks if counted else None,
        output_tokens=600,
    )
    quotient_s = (6.0 - size * 0.01) / 599
    assert answer.is_coarse is not known
    if known:
        assert answer.tpot_s == pytest.approx(quotient_s)
        assert quotient_s == pytest.approx(0.01, rel=0.11)  # a tenth came first
    else:
        assert answer.tpot_s is None
        assert quotient_s < 0.0076  # what it would have been instead of 10 ms


def test_chunks_of_one_read_count_as_one() -> None:
    """A proxy collects half of the answer: 4 of 8 tokens come together, each a chunk."""
    gaps_s = (0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1)
    assert record(chunk_gaps_s=gaps_s, chunk_tokens=None, output_tokens=8).tpot_s is None
    assert record(chunk_gaps_s=gaps_s, chunk_tokens=(1,) * 8, output_tokens=8).is_coarse
    assert record(chunk_gaps_s=(0.1,) * 7, chunk_tokens=(1,) * 8, output_tokens=8).tpot_s


@pytest.mark.parametrize("tokens", [(1, 2), (1, 2, 3, 4), ()])
def test_counts_that_do_not_fit_the_gaps_are_refused(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{len(tokens)} text chunks cannot have 2 gaps"):
        record(chunk_tokens=tokens)


@pytest.mark.parametrize("changes", [{}, {"due_s": None, "chunk_tokens": None, "error": "reset"}])
def test_a_json_line_gives_the_record_back(changes: dict[str, Any]) -> None:
    before = record(**changes)
    line = json.dumps(before.to_json())
    assert json.loads(line) == before.to_json()
    assert RequestRecord.from_json(json.loads(line)) == before


def test_json_with_a_strange_field_is_refused() -> None:
    with pytest.raises(TypeError, match="latency_ms"):
        RequestRecord.from_json(record().to_json() | {"latency_ms": 3})


def test_the_answer_is_not_in_the_repr() -> None:
    assert "q1" in repr(record())
    assert "Rest and drink" not in repr(record())
