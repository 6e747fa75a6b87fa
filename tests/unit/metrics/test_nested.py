import numpy as np
import pytest

from medsweep.metrics.nested import VarianceComponents, variance_components


def test_components_by_hand() -> None:
    # Mean square between: 2 (1 + 1) / 1 = 4; within: (0.5 + 0.5) / 2 = 0.5; (4 - 0.5) / 2 = 1.75.
    found = variance_components([[8.5, 9.5], [10.5, 11.5]])
    assert found == VarianceComponents(
        pytest.approx(1.75**0.5 / 10), pytest.approx(0.5**0.5 / 10), None, 2, 4
    )


def test_components_are_those_that_were_simulated() -> None:
    rng = np.random.default_rng(1)
    deployments = [
        [
            float(rng.normal(level, 0.3, 64).mean() + rng.normal(0, 0.02))
            for _ in range(int(rng.integers(2, 6)))
        ]
        for level in rng.normal(1.0, 0.05, 3000)
    ]
    found = variance_components(deployments, 0.3, 64)
    assert found is not None
    assert found.deployment == pytest.approx(0.05, rel=0.1)
    assert found.repeat == pytest.approx(0.02, rel=0.2)
    assert found.request == pytest.approx(0.3, rel=0.02)


def test_what_cannot_be_told_apart_is_null() -> None:
    assert variance_components([[1.0]]) is None
    assert variance_components([[0.0, 0.0]]) is None
    one = variance_components([[0.9, 1.1]])
    assert one is not None
    assert (one.deployment, one.deployments) == (None, 1)
    single = variance_components([[0.9], [1.1]])
    assert single is not None
    assert single.deployment is None
    assert single.repeat == pytest.approx(0.02**0.5)  # of deployment and repeat together
    quiet = variance_components([[1.0, 1.0], [1.0, 1.0]], 0.5, 4)
    assert quiet is not None
    assert (quiet.deployment, quiet.repeat) == (0.0, 0.0)
