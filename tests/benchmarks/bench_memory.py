"""Whether memory grows with the length of a load: `medsweep bench` watched for some minutes.

The slope of resident memory over requests says what a day of load would add. A fast server makes
many requests in little time, since memory follows requests and not hours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SECONDS = 120
# From here on all that is made once has been made.
SETTLED_S = 30
DAY_S = 24 * 3600


@pytest.mark.timeout(600)
def test_memory_over_a_long_load(tmp_path: Path) -> None:
    mock = [sys.executable, "-m", "medsweep.loadgen.mock.server", "--die-with-stdin"]
    mock += ["--ttft-s", "0.02", "--gap-s", "0.002", "--tokens", "8"]
    with subprocess.Popen(mock, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}/v1"
        out = tmp_path / "out.json"
        command = [sys.executable, "-m", "medsweep", "bench", url, "--model", "m"]
        command += ["--concurrency", "16", "--duration", str(SECONDS), "--json", str(out)]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen: dict[str, list[tuple[float, int]]] = {"driver": [], "load generator": []}
        start_s = time.monotonic()
        while load.poll() is None:
            at_s = time.monotonic() - start_s
            if at_s < SECONDS:
                for name, pid in zip(seen, (load.pid, *children(load.pid)), strict=False):
                    seen[name].append((at_s, resident_bytes(pid)))
            time.sleep(1)
        server.kill()
    assert load.returncode == 0
    [point] = json.loads(out.read_text())["points"]
    rate = point["requests_per_s"]
    print(f"\n{point['requests']['ok']} requests in {SECONDS} s, {rate:.0f} a second")
    for name, samples in seen.items():
        at_s, size = np.array([each for each in samples if each[0] >= SETTLED_S]).T
        slope = np.polynomial.polynomial.polyfit(at_s * rate, size, 1)[1]
        print(
            f"{name}: {size[-1] / 2**20:.0f} MiB at the end; {slope:.1f} bytes a request, so "
            f"{slope * DAY_S / 2**20:.1f} MiB in a day of one request a second"
        )


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
