"""Hardware profiles and accelerators: plain figures, without a table or an observation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

GIB = 2**30

# bfloat16 units came with Ampere. `torch.cuda.is_bf16_supported()` counts emulation too and returns
# True on a V100, so the compute capability decides.
FIRST_NATIVE_BF16 = (8, 0)


FIRST_CUDA_13 = (7, 5)
"""Lowest compute capability of CUDA 13, which has no kernels for Volta any more."""

# The total that PyTorch gives in its messages, rounded down. The driver shows a little more, and
# the datasheet more again. The RTX 8000 is with error correction; it has 47.4 without.
USABLE_GIB: Mapping[str, float] = {
    "Tesla V100-SXM2-16GB": 15.7,
    "Tesla V100-SXM2-32GB": 31.7,
    "Quadro RTX 8000": 45.5,
    "NVIDIA A100-SXM4-40GB": 39.3,
    "NVIDIA A100-SXM4-80GB": 79.1,
    "NVIDIA H100 80GB HBM3": 79.1,
    "NVIDIA H200": 139.0,
    "NVIDIA L4": 22.0,
    "NVIDIA L40S": 44.4,
    "Tesla T4": 14.5,
    "NVIDIA A10G": 22.0,
}
"""What a process can allocate of a GPU's memory, in GiB, by product."""

USABLE = 0.92
"""Share of the memory that can be allocated, where the product is not in the table."""


@dataclass(frozen=True)
class Accelerator:
    """One type of GPU.

    Attributes:
        name: its usual name ("V100").
        product: one variant of it, by the driver's (NVML's) name.
        memory_bytes: memory of one GPU, in bytes.
        compute_capability: major and minor, as (7, 0).
        memory_bandwidth_bytes_per_s: peak, in bytes per second; None where not known.
        peak_flops: peak dense operations per second by dtype, for dtypes with native units only.
    """

    name: str
    product: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    memory_bandwidth_bytes_per_s: float | None
    peak_flops: Mapping[str, float] = field(hash=False)

    @property
    def usable_bytes(self) -> int:
        """Memory that a process can allocate; the driver and error correction take the rest."""
        known = USABLE_GIB.get(self.product)
        return int(self.memory_bytes * USABLE if known is None else known * GIB)

    @property
    def native_bf16(self) -> bool:
        """Whether bfloat16 runs in hardware."""
        return self.compute_capability >= FIRST_NATIVE_BF16

    @property
    def slug(self) -> str:
        """The name as it appears in profile names and node labels ("rtx8000")."""
        return re.sub(r"[^a-z0-9.]", "", self.name.lower()).strip(".")


@dataclass(frozen=True)
class ListPrice:
    """What a provider asks for one GPU with its share of the machine.

    Attributes:
        usd_per_hour: in US dollars per hour.
        source: provider, kind of price, region, machine and document.
        date: the day that the price was listed, as YYYY-MM-DD.
        machine_gpus: GPUs of the largest machine whose price is this one times its GPUs.
    """

    usd_per_hour: float
    source: str
    date: str
    machine_gpus: int


@dataclass(frozen=True)
class HardwareProfile:
    """One VM configuration.

    Attributes:
        name: `<gpus>x<gpu>-<cpus>cpu`, or `host`.
        cpus: CPUs that a cell may use.
        gpus: GPUs, all of one type.
        accelerator: their type; None without a GPU.
        host_memory_bytes: main memory, in bytes.
        usd_per_hour: price in US dollars per hour; None where there is no public price.
        price_source: who asks this price, and for what; without a price, the reason if it is known.
        price_date: the day that the price was listed, as YYYY-MM-DD.
    """

    name: str
    cpus: int
    gpus: int
    accelerator: Accelerator | None
    host_memory_bytes: int
    usd_per_hour: float | None = None
    price_source: str | None = None
    price_date: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the nodes that have this profile."""
        gpu = self.accelerator.slug if self.accelerator else "none"
        return {"medsweep.io/profile": self.name, "medsweep.io/gpu": gpu}

    @property
    def gpu_memory_bytes(self) -> int:
        """Usable memory of all GPUs together, in bytes; 0 without a GPU."""
        return self.gpus * self.accelerator.usable_bytes if self.accelerator else 0

    @property
    def title(self) -> str:
        """The profile as the paper writes it: "4 CPUs, 2 V100s"."""
        cpus = f"{self.cpus} CPU{_plural(self.cpus)}"
        if self.accelerator is None:
            return f"{cpus}, no GPU"
        return f"{cpus}, {self.gpus} {self.accelerator.name}{_plural(self.gpus)}"


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
