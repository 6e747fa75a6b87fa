"""What the machine is, what it sustains, and whether the product sees it as it is."""

import json
import os
import subprocess
import sys
import time

import torch

from gpu.device import DEVICE, GPU, NAME, timed
from gpu.packages import import_errors, missing
from gpu.report import Report
from medsweep.hardware.observe import host_profile, observe_host
from medsweep.models.catalog import MODELS
from medsweep.models.precision import choose_dtype
from medsweep.telemetry.gpu import open_gpus
from medsweep.telemetry.recording import Sample

_OBSERVE = """
import json, torch
from medsweep.hardware.nvidia import observe_gpus
print(json.dumps([len(observe_gpus()), torch.cuda.device_count()]))
"""


def packages(report: Report) -> None:
    """Say first which stages cannot run here, for lack of a package."""
    absent, errors = missing(), import_errors()
    ok = "every stage" not in {**absent, **errors}
    report.row("machine.packages", ok=ok, missing=absent, errors=errors)


def describe(report: Report) -> None:
    """Record versions, the observed hardware, its profile and one reading of NVML."""
    import peft
    import transformers

    observed = observe_host()
    profile = host_profile(observed)
    gpus = open_gpus()
    sample = Sample(time.time())
    if not isinstance(gpus, str):
        gpus.read(sample)
        gpus.close()
    capability = torch.cuda.get_device_capability(0) if GPU else None
    report.row(
        "machine",
        ok=None if not GPU else bool(observed.gpus) and NAME in str(observed.gpus[0]),
        device=NAME,
        torch=torch.__version__,
        cuda=torch.version.cuda,
        transformers=transformers.__version__,
        peft=peft.__version__,
        capability=capability,
        observed=observed.gpus,
        profile=profile.title,
        dtype=choose_dtype(MODELS["llama-3-8b"], profile.accelerator),
        gauges=sample.gauges,
        counters=sample.counters,
        missing=sample.missing,
        nvml=gpus if isinstance(gpus, str) else "read",
    )


def visible(report: Report) -> None:
    """Compare the GPUs that NVML and CUDA show for each form of CUDA_VISIBLE_DEVICES."""
    values = ["", "0"]
    if GPU:
        values.append(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    for value in values:
        done = subprocess.run(
            [sys.executable, "-c", _OBSERVE],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": value},
            capture_output=True,
            text=True,
            check=False,
        )
        counts = json.loads(done.stdout) if done.returncode == 0 else None
        report.row(
            "machine.visible",
            ok=counts is not None and counts[0] == counts[1],
            value=value,
            nvml_and_torch=counts,
            error=done.stderr[-300:] or None,
        )


def sustained(report: Report) -> None:
    """Measure copying, matrix products and the CPU time to launch a kernel."""
    size = 2**32 if GPU else 2**22
    source = torch.empty(size, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    width = 8192 if GPU else 256
    left, right = (torch.randn(width, width, device=DEVICE).bfloat16() for _ in range(2))
    small = torch.ones(8, device=DEVICE)
    launches = 20_000 if GPU else 200

    def launch() -> None:
        for _ in range(launches):
            small.add_(1)

    def multiply() -> None:
        for _ in range(10):
            left @ right

    for work in (launch, multiply):
        work()
    copying_s = min(timed(lambda: target.copy_(source)) for _ in range(5))
    multiplying_s = min(timed(multiply) for _ in range(3)) / 10
    launching_s = min(timed(launch) for _ in range(3)) / launches
    report.row(
        "machine.sustained",
        device=NAME,
        bytes_per_s=2 * size / copying_s,
        bf16_flops=2 * width**3 / multiplying_s,
        launch_s=launching_s,
    )
