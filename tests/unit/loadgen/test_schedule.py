from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest

from medsweep.errors import InputError
from medsweep.loadgen.schedule import due_times, prompt_order
from medsweep.loadgen.spec import LoadPoint, Prompt

PROMPTS = tuple(Prompt(f"q{n}", "?") for n in range(10))
POISSON = LoadPoint(rate=20.0, arrivals="poisson")


def take(point: LoadPoint, count: int, seed: int) -> npt.NDArray[np.float64]:
    return np.asarray(list(islice(due_times(point, seed), count)))


def test_constant_is_evenly_spaced_and_needs_no_seed() -> None:
    times = take(LoadPoint(rate=4.0), 5, seed=1)
    assert times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert times.tolist() == take(LoadPoint(rate=4.0), 5, seed=2).tolist()


def test_constant_does_not_drift() -> None:
    assert take(LoadPoint(rate=3.0), 9001, seed=1)[-1] == 3000.0


@pytest.mark.parametrize(
    ("point", "deviation"),
    [
        # The standard deviation of an exponential equals its mean; of even spacing it is 0.
        (POISSON, 1.0),
        # Of a gamma distribution it is the mean over the root of the shape.
        (LoadPoint(rate=20.0, arrivals="gamma"), 2**0.5),
        (LoadPoint(rate=20.0, arrivals="gamma", shape=4.0), 0.5),
    ],
)
def test_random_gaps_have_their_mean_and_deviation(point: LoadPoint, deviation: float) -> None:
    gaps = np.diff(take(point, 20_000, seed=7), prepend=0.0)
    assert gaps.mean() == pytest.approx(1 / 20.0, rel=0.03)
    assert gaps.std() == pytest.approx(deviation / 20.0, rel=0.03)
    assert gaps.min() >= 0


def test_bursts_are_due_together_and_keep_the_rate() -> None:
    point = LoadPoint(rate=6.0, arrivals="burst", shape=3)
    assert take(point, 7, seed=1).tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 1.0]
    assert len(set(take(LoadPoint(rate=5.0, arrivals="burst"), 20, seed=1))) == 2


def test_replay_repeats_what_happened() -> None:
    assert take(LoadPoint(due_s=(0.0, 0.3, 0.3, 2.0)), 9, seed=1).tolist() == [0.0, 0.3, 0.3, 2.0]


def test_poisson_follows_the_seed() -> None:
    assert take(POISSON, 50, seed=7).tolist() == take(POISSON, 50, seed=7).tolist()
    assert take(POISSON, 50, seed=7).tolist() != take(POISSON, 50, seed=8).tolist()


def test_closed_loop_has_no_due_times() -> None:
    with pytest.raises(InputError, match="c4"):
        take(LoadPoint(concurrency=4), 5, seed=1)


def ids(warmup: int, seed: int, count: int) -> list[str]:
    return [prompt.question_id for prompt in islice(prompt_order(PROMPTS, warmup, seed), count)]


@pytest.mark.parametrize("warmup", [0, 3, 10, 13])
def test_measured_requests_begin_a_pass(warmup: int) -> None:
    measured = ids(warmup, seed=1, count=warmup + 20)[warmup:]
    everything = sorted(prompt.question_id for prompt in PROMPTS)
    assert sorted(measured[:10]) == sorted(measured[10:]) == everything


def test_passes_and_repeats_differ_in_order() -> None:
    first = ids(0, seed=1, count=20)
    assert first[:10] != first[10:]
    assert first != ids(0, seed=2, count=20)
    assert first == ids(0, seed=1, count=20)
