import pytest

from medsweep.loadgen.calibrate import Calibration, calibrate


@pytest.mark.slow
def test_calibrates_against_a_server_of_its_own() -> None:
    one, six = calibrate([1, 6], requests_per_worker=1)
    assert (one.concurrency, six.concurrency) == (1, 6)
    for found in (one, six):
        # The server may be late but hardly early: timers there are whole milliseconds.
        assert -0.003 < found.ttft_bias_s < 0.05
        assert found.ttft_bias_s <= found.ttft_max_error_s < 0.2
        assert abs(found.itl_bias_s) < 0.005
        assert found.ideal_requests_per_s == pytest.approx(found.concurrency / 0.36)
        assert 0.5 < found.requests_per_s / found.ideal_requests_per_s < 1.05


@pytest.mark.parametrize(("reached", "limited"), [(9.29, True), (9.31, False), (10.0, False)])
def test_client_limited(reached: float, limited: bool) -> None:
    found = Calibration(
        concurrency=4,
        ttft_bias_s=0.0,
        ttft_max_error_s=0.0,
        itl_bias_s=0.0,
        requests_per_s=reached,
        ideal_requests_per_s=10.0,
    )
    assert found.client_limited is limited
