import numpy as np
import pytest

from medsweep.errors import InputError
from medsweep.loadgen.arrivals import due_times
from medsweep.loadgen.spec import LoadPoint

POISSON = LoadPoint(rate=20.0, arrivals="poisson")


def test_constant_is_evenly_spaced_and_needs_no_seed() -> None:
    times = due_times(LoadPoint(rate=4.0), 5, seed=1)
    assert times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert times.tolist() == due_times(LoadPoint(rate=4.0), 5, seed=2).tolist()


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(due_times(POISSON, 20_000, seed=7), prepend=0.0)
    assert gaps.mean() == pytest.approx(1 / 20.0, rel=0.03)
    # The standard deviation of an exponential equals its mean; of even spacing it is 0.
    assert gaps.std() == pytest.approx(1 / 20.0, rel=0.03)


def test_poisson_follows_the_seed() -> None:
    assert due_times(POISSON, 50, seed=7).tolist() == due_times(POISSON, 50, seed=7).tolist()
    assert due_times(POISSON, 50, seed=7).tolist() != due_times(POISSON, 50, seed=8).tolist()


def test_longer_series_begins_with_the_shorter() -> None:
    assert due_times(POISSON, 90, seed=7)[:50].tolist() == due_times(POISSON, 50, seed=7).tolist()


def test_closed_loop_has_no_due_times() -> None:
    with pytest.raises(InputError, match="c4"):
        due_times(LoadPoint(concurrency=4), 5, seed=1)
