from typing import get_args

import pytest

from medsweep.errors import InputError
from medsweep.loadgen.mock.timing import (
    KEEP_ALIVE,
    Fail,
    MockTiming,
    answer_events,
    script_of,
)

BODY = {"messages": [], "max_tokens": 99, "stream_options": {"include_usage": True}}


def moments(timing: MockTiming, index: int = 0) -> list[float]:
    return [at_s for at_s, _ in script_of(timing, BODY, index).steps]


def test_steps_without_jitter_are_on_time() -> None:
    timing = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=3)
    assert moments(timing) == pytest.approx([0.0, 0.05, 0.06, 0.07, 0.07])


def test_jitter_is_late_never_early_and_the_same_for_the_same_request() -> None:
    timing = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=90, jitter_s=0.004)
    late = [a - b for a, b in zip(moments(timing), moments(MockTiming(tokens=90)), strict=True)]
    assert late[0] == 0.0
    assert late == sorted(late)
    # 91 exponential delays of 4 ms add up.
    assert late[-1] == pytest.approx(91 * 0.004, rel=0.35)
    assert moments(timing, 1) == moments(timing, 1)
    assert moments(timing, 1) != moments(timing, 2)


def test_the_request_s_limit_cuts_the_answer_short() -> None:
    script = script_of(MockTiming(tokens=32), {**BODY, "max_tokens": 4}, 0)
    text = b"".join(data for _, data in script.steps)
    assert text.count(b" word") == 4
    assert b'"finish_reason": "length"' in text
    assert b'"completion_tokens": 4' in text


@pytest.mark.parametrize(("share", "failing"), [(1.0, 8), (0.25, 2), (0.0, 0)])
def test_failures_are_spread_evenly(share: float, failing: int) -> None:
    timing = MockTiming(fail="http_429", fail_share=share)
    fails = [timing.fails(index) for index in range(8)]
    assert sum(fails) == failing
    texts = [script_of(timing, BODY, index).steps[0][1] for index in range(8)]
    assert [text.startswith(b"HTTP/1.1 429") for text in texts] == fails


@pytest.mark.parametrize("fail", get_args(Fail))
def test_no_failure_looks_like_an_answer(fail: Fail) -> None:
    script = script_of(MockTiming(fail=fail), BODY, 0)
    text = b"".join(data for _, data in script.steps)
    assert b"data: [DONE]" not in text or script.ending != "keep"
    assert [at_s for at_s, _ in script.steps] == sorted(at_s for at_s, _ in script.steps)


@pytest.mark.parametrize(
    "fields", [{"fail": "http_418"}, {"ttft_s": -1.0}, {"tokens_per_chunk": 0}, {"slots": 0}]
)
def test_timing_that_makes_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        MockTiming(**fields)


def event_moments(timing: MockTiming) -> list[float]:
    events = answer_events(timing, chat=True, usage=True, continuous_usage=True, max_tokens=99)
    return [at_s for at_s, _ in events]


def test_moments_are_counted_from_the_start() -> None:
    timing = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=3)
    assert event_moments(timing) == pytest.approx([0.0, 0.05, 0.06, 0.07, 0.07])
    assert timing.service_s == pytest.approx(0.07)


def test_moments_of_chunks_with_several_tokens() -> None:
    timing = MockTiming(gap_s=0.01, tokens=5, tokens_per_chunk=2, role_only_first=False)
    assert event_moments(timing) == pytest.approx([0.05, 0.07, 0.09, 0.09])


def test_keep_alives_go_half_way_before_every_chunk() -> None:
    timing = MockTiming(tokens=2, keep_alive_comments=True, role_only_first=False)
    events = answer_events(timing, chat=True, usage=True, continuous_usage=True, max_tokens=99)
    comments = [at_s for at_s, data in events if data == KEEP_ALIVE]
    assert comments == pytest.approx([0.025, 0.055])


@pytest.mark.parametrize("asked", [True, False])
def test_usage_only_where_it_is_asked_for(asked: bool) -> None:
    events = answer_events(
        MockTiming(), chat=True, usage=asked, continuous_usage=True, max_tokens=99
    )
    assert any(b"usage" in data for _, data in events) == asked
