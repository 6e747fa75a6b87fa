"""The nine hardware profiles of the paper (its table 2).

The paper does not give host memory or prices; both are this table's choice. Memory is 32 GiB for
each GPU: room for the 16-bit weights of an 8B model while they are read.
"""

from __future__ import annotations

from medsweep.hardware.accelerators import A100, RTX_8000, V100
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.table import Table

_MEMORY_PER_GPU_BYTES = 32 * GIB

# On-demand list prices of Google Cloud, us-central1, USD per hour, rounded to a cent, as listed on
# this day. They are defaults to compare profiles with; a sweep gives its own where it pays others.
_PRICE_DATE = "2025-03-06"
# An A100 is rented only with a whole A2 machine (12 vCPUs and 85 GB for each GPU): using fewer of
# its CPUs costs the same.
_A100_PRICE = "Google Cloud on-demand list, us-central1: whole a2-highgpu-1g or -2g machine"


def _profile(
    gpus: int,
    accelerator: Accelerator,
    cpus: int,
    usd_per_hour: float | None = None,
    price_source: str | None = None,
) -> HardwareProfile:
    return HardwareProfile(
        name=f"{gpus}x{accelerator.slug}-{cpus}cpu",
        cpus=cpus,
        gpus=gpus,
        accelerator=accelerator,
        host_memory_bytes=gpus * _MEMORY_PER_GPU_BYTES,
        usd_per_hour=usd_per_hour,
        price_source=price_source,
        price_date=None if usd_per_hour is None else _PRICE_DATE,
    )


PROFILES = Table(
    "hardware profile",
    (
        # No dated list price of the V100 was at hand: no price rather than a guess.
        _profile(1, V100, 1),
        _profile(1, V100, 2),
        _profile(2, V100, 4),
        _profile(1, A100, 1, 3.67, _A100_PRICE),
        _profile(1, A100, 2, 3.67, _A100_PRICE),
        _profile(2, A100, 4, 7.35, _A100_PRICE),
        # The RTX 8000 is a workstation card that Google Cloud does not list: no price either.
        _profile(1, RTX_8000, 1),
        _profile(1, RTX_8000, 2),
        _profile(2, RTX_8000, 4),
    ),
)
