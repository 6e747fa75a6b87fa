"""What `nvidia-smi` says about the GPUs that this process may use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

_TIMEOUT_S = 5.0
_QUERY = "index,uuid,name,driver_version,memory.total,compute_cap,mig.mode.current"
_MIB = 2**20


@dataclass(frozen=True)
class ObservedGpu:
    """One GPU as its driver reports it.

    Attributes:
        name: product name; " (MIG)" is appended where the GPU is cut into slices.
        driver: driver version.
        memory_bytes: total memory, in bytes.
        compute_capability: major and minor.
    """

    name: str
    driver: str
    memory_bytes: int
    compute_capability: tuple[int, int]


def observe_gpus() -> tuple[ObservedGpu, ...]:
    """Return the visible GPUs; empty without `nvidia-smi`, or where it fails or hangs."""
    rows = [
        [value.strip() for value in line.split(",")]
        for line in _nvidia_smi(
            f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"
        ).splitlines()
    ]
    gpus = []
    for row in rows:
        if len(row) != len(_QUERY.split(",")) or not is_visible(index=row[0], uuid=row[1]):
            continue
        _, _, name, driver, memory_mib, capability, mig = row
        try:
            major, minor = capability.split(".")
            gpus.append(
                ObservedGpu(
                    # A slice is not the GPU: under another name it matches no hardware profile.
                    name=f"{name} (MIG)" if mig == "Enabled" else name,
                    driver=driver,
                    memory_bytes=int(memory_mib) * _MIB,
                    compute_capability=(int(major), int(minor)),
                )
            )
        except ValueError:
            # "[N/A]" or an error text where a figure belongs: a GPU in no state to be measured.
            continue
    return tuple(gpus)


def cuda_version() -> str | None:
    """Return the newest CUDA version that the driver supports ("12.6"), or None."""
    found = re.search(r"CUDA (?:UMD )?Version\s*:\s*([\d.]+)", _nvidia_smi("--version"))
    return found.group(1) if found else None


def is_visible(*, index: str, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES, which nvidia-smi ignores, leaves this GPU to the process."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return True
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    return any(
        name == index or (name.startswith("GPU-") and uuid.startswith(name)) for name in names
    )


def _nvidia_smi(*arguments: str) -> str:
    """Return the output of `nvidia-smi`, or an empty string where there is none to be had."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        return subprocess.run(
            ["nvidia-smi", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
