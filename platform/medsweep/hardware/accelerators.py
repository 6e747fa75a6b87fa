"""The three accelerator types of the paper, from their makers' documents.

The paper names types, not variants. One variant of each is chosen here, and the driver's name for
it is what `observe.matches` asks for: another variant has other memory or bandwidth, so its
figures would not be this profile's.

Peaks are dense (no sparsity), at boost clock; float16, bfloat16 and int8 are the tensor cores'.
A dtype without native units is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medsweep.hardware.profile import GIB, Accelerator

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
