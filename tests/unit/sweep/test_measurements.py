import pytest

from medsweep.datasets.spec import Pair
from medsweep.loadgen.spec import LoadPoint
from medsweep.sweep.measurements import Measurement, questions_of

PAIRS = [Pair(f"q{number}", "?", "!") for number in range(10)]


def ids(requests: int, repeat: int, seed: int = 3) -> list[str]:
    return [pair.question_id for pair in questions_of(PAIRS, requests, repeat, seed)]


def test_repeats_share_no_question_before_all_were_asked() -> None:
    first, second, third = (ids(4, repeat) for repeat in (1, 2, 3))
    assert len({*first, *second}) == 8
    assert {*first, *second, *third} == {pair.question_id for pair in PAIRS}


def test_a_repeat_with_enough_requests_asks_everything() -> None:
    assert sorted(ids(10, 1)) == sorted(ids(64, 2)) == [pair.question_id for pair in PAIRS]


def test_the_order_is_that_of_the_seed() -> None:
    assert ids(4, 2) == ids(4, 2)
    assert ids(4, 2) != ids(4, 2, seed=4)


@pytest.mark.parametrize(
    ("point", "variant", "words"),
    [
        (LoadPoint(concurrency=1), "base", "base, 1 client, repeat 2"),
        (LoadPoint(concurrency=8), "adapter", "fine-tuned, 8 clients, repeat 2"),
        (LoadPoint(rate=0.5), "served", "served, 0.5 requests/s, repeat 2"),
        (
            LoadPoint(rate=2, arrivals="poisson"),
            "served",
            "served, 2 requests/s (Poisson), repeat 2",
        ),
    ],
)
def test_progress_says_in_words_what_is_measured(
    point: LoadPoint, variant: str, words: str
) -> None:
    assert Measurement(point, 2, variant).words == words
