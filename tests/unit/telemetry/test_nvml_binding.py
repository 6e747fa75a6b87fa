"""The real nvidia-ml-py, over a C library that stands in for the driver's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import dataclasses, json
from medsweep.hardware.nvidia import observe_gpus
from medsweep.telemetry.gpu import open_gpus
from medsweep.telemetry.recording import Sample
gpus, sample = open_gpus(), Sample(0.0)
gpus.read(sample)
gpus.close()
observed = [dataclasses.asdict(gpu) for gpu in observe_gpus()]
print(json.dumps({**dataclasses.asdict(sample), "observed": observed}, default=sorted))
"""


def test_an_older_gpu_is_read_through_the_real_binding(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = Path(__file__).with_name("nvml_stub.c")
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["gauges"] == pytest.approx(
        {
            "gpu_utilisation": 0.21,
            "gpu_memory_utilisation": 0.34,
            "gpu_memory_used_bytes": 9 * 2**30,
            "gpu_sm_clock_hz": 1.38e9,
            "gpu_sm_clock_max_hz": 1.53e9,
            "gpu_throttled": 1.0,
        }
    )
    assert seen["counters"] == {"gpu_energy_j": 9e6}
    assert seen["reasons"] == ["power cap"]
    assert seen["missing"] == {"gpu_power_w": "Not Supported"}
    assert seen["observed"] == [
        {
            "name": "Tesla V100-SXM2-16GB",
            "driver": "525.147.05",
            "cuda": "12.0",
            "memory_bytes": 16 * 2**30,
            "compute_capability": [7, 0],
        }
    ]
