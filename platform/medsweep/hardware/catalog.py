"""The paper's three types of accelerator and its nine hardware profiles (its table 2).

The paper names types of GPU, not variants. One variant of each is chosen here, and the driver's
name for it is what `observe.matches` compares: another variant has other memory or bandwidth, so
its figures would not be this profile's. Figures are from the makers' documents. Peaks are dense (no
sparsity), at boost clock; float16, bfloat16 and int8 are those of the tensor cores. A dtype without
native units is absent.

The paper does not give host memory or prices; both are this table's choice. Memory is 32 GiB for
each GPU: room for the 16-bit weights of an 8B model while they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.table import NamedTable

# NVIDIA Tesla V100 GPU Architecture whitepaper (WP-08608-001), table 1, and the V100 datasheet:
# SXM2. 16 GB is the variant that clouds rent by the piece. No int8: Volta's tensor cores take
# float16 only.
V100 = Accelerator(
    name="V100",
    product="Tesla V100-SXM2-16GB",
    memory_bytes=16 * GIB,
    compute_capability=(7, 0),
    memory_bandwidth_bytes_per_s=900e9,
    peak_flops={"float32": 15.7e12, "float16": 125e12},
)

# NVIDIA Turing GPU Architecture whitepaper (WP-09183-001), the tables of Quadro RTX 6000 (the RTX
# 8000 has the same TU102), and the Quadro RTX 8000 datasheet for memory and bandwidth. The actively
# cooled board: the passive one clocks lower (624 GB/s).
RTX_8000 = Accelerator(
    name="RTX 8000",
    product="Quadro RTX 8000",
    memory_bytes=48 * GIB,
    compute_capability=(7, 5),
    memory_bandwidth_bytes_per_s=672e9,
    peak_flops={"float32": 16.3e12, "float16": 130.5e12, "int8": 261e12},
)

# NVIDIA A100 Tensor Core GPU Architecture whitepaper and A100 datasheet: SXM4, 40 GB. float32 is
# the plain rate; TF32 (156e12) is a mode of it that PyTorch leaves off for matrix products.
A100 = Accelerator(
    name="A100",
    product="NVIDIA A100-SXM4-40GB",
    memory_bytes=40 * GIB,
    compute_capability=(8, 0),
    memory_bandwidth_bytes_per_s=1555e9,
    peak_flops={"float32": 19.5e12, "float16": 312e12, "bfloat16": 312e12, "int8": 624e12},
)

ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType(
    {gpu.slug: gpu for gpu in (V100, RTX_8000, A100)}
)
"""By the name that profiles and node labels use."""

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


PROFILES = NamedTable(
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
