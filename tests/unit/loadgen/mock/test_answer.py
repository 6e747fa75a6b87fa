import pytest

from medsweep.loadgen.mock.answer import KEEP_ALIVE, MockTiming, answer_events


def moments(timing: MockTiming) -> list[float]:
    events = answer_events(timing, chat=True, usage=True, continuous_usage=True, max_tokens=99)
    return [at_s for at_s, _ in events]


def test_moments_are_counted_from_the_start() -> None:
    timing = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=3)
    assert moments(timing) == pytest.approx([0.0, 0.05, 0.06, 0.07, 0.07])
    assert timing.service_s == pytest.approx(0.07)


def test_moments_of_chunks_with_several_tokens() -> None:
    timing = MockTiming(gap_s=0.01, tokens=5, tokens_per_chunk=2, role_only_first=False)
    assert moments(timing) == pytest.approx([0.05, 0.07, 0.09, 0.09])


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
