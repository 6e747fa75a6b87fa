"""How far the load generator can be trusted: it against a server whose timing is known."""

from __future__ import annotations

import pytest

from medsweep.loadgen.calibrate import calibrate


@pytest.mark.timeout(300)
def test_client_against_a_server_with_known_timing() -> None:
    print(
        "\n50 ms to the first of 32 tokens, 10 ms between them; server and client on this machine"
    )
    print("concurrency  TTFT bias  TTFT worst  gap bias  requests/s of ideal")
    for found in calibrate([1, 8, 64, 256], requests_per_worker=10):
        share = found.requests_per_s / found.ideal_requests_per_s
        print(
            f"{found.concurrency:>11}  {found.ttft_bias_s * 1e3:6.1f} ms  "
            f"{found.ttft_max_error_s * 1e3:7.1f} ms  {found.itl_bias_s * 1e3:5.2f} ms  "
            f"{share:.1%}"
        )
