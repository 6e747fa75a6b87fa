"""The nine hardware profiles of the paper (its table 2), and `host`.

The paper does not give host memory or prices; both are this table's choice. Memory is 32 GiB for
each GPU: room for the 16-bit weights of an 8B model while they are read.
"""

from __future__ import annotations

from medsweep.errors import UnknownName
from medsweep.hardware.accelerators import A100, RTX_8000, V100
from medsweep.hardware.observe import HOST, host_profile
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.registry import Registry

PROFILES: Registry[HardwareProfile] = Registry("hardware profile")

_MEMORY_PER_GPU_BYTES = 32 * GIB

# On-demand list prices of Google Cloud, us-central1, USD per hour, rounded to a cent, as listed on
# this day. They are defaults to compare profiles with; a sweep gives its own where it pays others.
_PRICE_DATE = "2025-03-06"
# An A100 is let only inside a whole A2 machine (12 vCPUs and 85 GB for each GPU): using fewer of
# its CPUs costs the same.
_A100_PRICE = "Google Cloud on-demand list, us-central1: whole a2-highgpu-1g or -2g machine"


def profile(name: str) -> HardwareProfile:
    """Return the hardware profile called `name`; `host` is observed now.

    Raises:
        UnknownName: no such profile; the message lists the known ones and the nearest.
    """
    if name == HOST:
        return host_profile()
    try:
        return PROFILES[name]
    except UnknownName as miss:
        # The registry holds the nine; `host` would have been right too.
        raise UnknownName(miss.kind, name, [*miss.known, HOST]) from None


def _add(
    gpus: int,
    accelerator: Accelerator,
    cpus: int,
    usd_per_hour: float | None,
    price_source: str | None,
) -> None:
    name = f"{gpus}x{accelerator.slug}-{cpus}cpu"
    PROFILES.register(name)(
        HardwareProfile(
            name=name,
            cpus=cpus,
            gpus=gpus,
            accelerator=accelerator,
            host_memory_bytes=gpus * _MEMORY_PER_GPU_BYTES,
            usd_per_hour=usd_per_hour,
            price_source=price_source,
            price_date=None if usd_per_hour is None else _PRICE_DATE,
        )
    )


# No dated list price of the V100 was at hand: no price rather than a guess.
_add(1, V100, 1, None, None)
_add(1, V100, 2, None, None)
_add(2, V100, 4, None, None)
_add(1, A100, 1, 3.67, _A100_PRICE)
_add(1, A100, 2, 3.67, _A100_PRICE)
_add(2, A100, 4, 7.35, _A100_PRICE)
# The RTX 8000 is a workstation card that Google Cloud does not list: no price rather than a guess.
_add(1, RTX_8000, 1, None, None)
_add(1, RTX_8000, 2, None, None)
_add(2, RTX_8000, 4, None, None)

SHIPPED = tuple(PROFILES)
"""Names of the nine; a sweep's own profiles come beside them."""
