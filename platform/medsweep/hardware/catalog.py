"""Types of accelerator, and the nine hardware profiles of the paper (its table 2).

The paper names types of GPU, not variants. One variant of each is chosen here, and the driver's
name for it is what `observe.matches` compares: another variant has other memory or bandwidth, so
its figures would not be this profile's. Beside the paper's three types there are those that clouds
rent today, for `own_profiles`. Figures are from the makers' documents. Peaks are dense (no
sparsity), at boost clock; float16, bfloat16 and int8 are those of the tensor cores. A dtype without
native units is absent.

The paper does not give host memory or prices; both are this table's choice. Memory is 32 GiB for
each GPU: room for the 16-bit weights of an 8B model while they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile, ListPrice
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

# The same with 32 GB.
V100_32 = replace(
    V100,
    name="V100-32",
    product="Tesla V100-SXM2-32GB",
    memory_bytes=32 * GIB,
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

# A100 datasheet: SXM4, 80 GB.
A100_80 = replace(
    A100,
    name="A100-80",
    product="NVIDIA A100-SXM4-80GB",
    memory_bytes=80 * GIB,
    memory_bandwidth_bytes_per_s=2039e9,
)

# NVIDIA H100 Tensor Core GPU datasheet: SXM5, 80 GB.
H100 = Accelerator(
    name="H100",
    product="NVIDIA H100 80GB HBM3",
    memory_bytes=80 * GIB,
    compute_capability=(9, 0),
    memory_bandwidth_bytes_per_s=3350e9,
    peak_flops={"float32": 67e12, "float16": 989.5e12, "bfloat16": 989.5e12, "int8": 1979e12},
)

# NVIDIA H200 Tensor Core GPU datasheet: SXM, 141 GB; the units of an H100.
H200 = replace(
    H100,
    name="H200",
    product="NVIDIA H200",
    memory_bytes=141 * GIB,
    memory_bandwidth_bytes_per_s=4800e9,
)

# NVIDIA L4 datasheet; its peaks of tensor cores are with sparsity, here halved.
L4 = Accelerator(
    name="L4",
    product="NVIDIA L4",
    memory_bytes=24 * GIB,
    compute_capability=(8, 9),
    memory_bandwidth_bytes_per_s=300e9,
    peak_flops={"float32": 30.3e12, "float16": 121e12, "bfloat16": 121e12, "int8": 242.5e12},
)

# NVIDIA L40S datasheet.
L40S = Accelerator(
    name="L40S",
    product="NVIDIA L40S",
    memory_bytes=48 * GIB,
    compute_capability=(8, 9),
    memory_bandwidth_bytes_per_s=864e9,
    peak_flops={"float32": 91.6e12, "float16": 362e12, "bfloat16": 362e12, "int8": 733e12},
)

# NVIDIA T4 datasheet.
T4 = Accelerator(
    name="T4",
    product="Tesla T4",
    memory_bytes=16 * GIB,
    compute_capability=(7, 5),
    memory_bandwidth_bytes_per_s=300e9,
    peak_flops={"float32": 8.1e12, "float16": 65e12, "int8": 130e12},
)

# NVIDIA A10G datasheet (the A10 of AWS, with fewer tensor cores).
A10G = Accelerator(
    name="A10G",
    product="NVIDIA A10G",
    memory_bytes=24 * GIB,
    compute_capability=(8, 6),
    memory_bandwidth_bytes_per_s=600e9,
    peak_flops={"float32": 35e12, "float16": 70e12, "bfloat16": 70e12, "int8": 140e12},
)

PAPER_ACCELERATORS = (V100, RTX_8000, A100)
"""The types of the paper's table 2."""

ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType(
    {
        gpu.slug: gpu
        for gpu in (*PAPER_ACCELERATORS, V100_32, A100_80, H100, H200, L4, L40S, T4, A10G)
    }
)
"""By the name that profiles and node labels use."""

# AWS on-demand prices in us-east-1 (Linux), as AWS's project Karpenter took them from AWS's list:
# https://github.com/aws/karpenter-provider-aws/blob/
# 1d927085dd81a9df9301e613f371dac5b4d16bfe/pkg/providers/pricing/zz_generated.pricing_aws.go
_AWS_DATE = "2026-07-20"
_AWS_DOCUMENT = (
    "github.com/aws/karpenter-provider-aws/blob/1d927085dd81/"
    "pkg/providers/pricing/zz_generated.pricing_aws.go"
)


def _aws(machine: str, usd_per_hour: float, gpus: int = 1) -> ListPrice:
    share = "" if gpus == 1 else f", 1 of its {gpus} GPUs (it is rented only as a whole)"
    source = f"AWS on-demand list, us-east-1: {machine}{share} ({_AWS_DOCUMENT})"
    return ListPrice(usd_per_hour / gpus, source, _AWS_DATE, gpus)


GPU_PRICES: Mapping[str, ListPrice] = MappingProxyType(
    {
        V100_32.slug: _aws("p3dn.24xlarge", 31.212, gpus=8),
        A100_80.slug: _aws("p4de.24xlarge", 27.44705, gpus=8),
        # The machine of eight, p5.48xlarge, costs eight times as much.
        H100.slug: replace(_aws("p5.4xlarge", 6.88), machine_gpus=8),
        H200.slug: _aws("p5en.48xlarge", 63.296, gpus=8),
        L4.slug: _aws("g6.xlarge", 0.8048),
        L40S.slug: _aws("g6e.xlarge", 1.861),
        T4.slug: _aws("g4dn.xlarge", 0.526),
        A10G.slug: _aws("g5.xlarge", 1.006),
    }
)
"""Price of one GPU in the smallest machine that has it, by slug, for own profiles that name a type
of the catalogue. The paper's types have the prices of their profiles."""

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "mi300x": "AMD's GPUs need PyTorch for ROCm, and kernels, images and telemetry for them; "
        "MedSweep has those of NVIDIA only"
    }
)
"""Why a type of accelerator cannot be used, by the same name."""

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
