"""A user's own hardware profile: one entry of a sweep's `own_profiles`."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from medsweep.config import Closed
from medsweep.errors import UnknownName
from medsweep.hardware.catalog import ACCELERATORS, GPU_PRICES, PROFILES, UNSUPPORTED
from medsweep.hardware.observe import HOST
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile


class OwnAcceleratorSpec(Closed):
    """A type of GPU that is not in the catalogue, with the figures of its datasheet.

    Attributes:
        name: its usual name, such as B200.
        product: the driver's name for it, such as NVIDIA B200; decides whether rows are observed.
        memory_gib: memory of one GPU, in GiB.
        compute_capability: such as 10.0; decides dtypes and engines.
        bandwidth_gb_per_s: peak memory bandwidth, in 10^9 bytes per second; with None, speed is not
            predicted.
        peak_tflops: peak dense 10^12 operations per second by dtype (float32, float16, bfloat16).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .-]*$", max_length=30)
    product: str
    memory_gib: float = Field(gt=0)
    compute_capability: str = Field(pattern=r"^\d+\.\d+$")
    bandwidth_gb_per_s: float | None = Field(default=None, gt=0)
    peak_tflops: dict[str, float] = Field(default={})

    @field_validator("compute_capability", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Take 8.9 without quotes, which YAML reads as a number."""
        return str(given) if isinstance(given, float) else given

    @field_validator("peak_tflops")
    @classmethod
    def _known_dtypes(cls, given: dict[str, float]) -> dict[str, float]:
        for dtype, peak in given.items():
            if dtype not in ("float32", "float16", "bfloat16"):
                raise ValueError(
                    str(UnknownName("dtype", dtype, ("float32", "float16", "bfloat16")))
                )
            if peak <= 0:
                raise ValueError(f"{dtype}: {peak} is not above 0")
        return given

    def accelerator(self) -> Accelerator:
        """Return it in the catalogue's form."""
        major, minor = self.compute_capability.split(".")
        bandwidth = self.bandwidth_gb_per_s
        return Accelerator(
            name=self.name,
            product=self.product,
            memory_bytes=int(self.memory_gib * GIB),
            compute_capability=(int(major), int(minor)),
            memory_bandwidth_bytes_per_s=None if bandwidth is None else bandwidth * 1e9,
            peak_flops={dtype: peak * 1e12 for dtype, peak in self.peak_tflops.items()},
        )


class OwnProfileSpec(Closed):
    """A VM configuration that is not in the catalogue; give its price in `prices`.

    Attributes:
        name: its name in cells and results.
        cpus: CPUs that a cell may use.
        host_memory_gib: main memory, in GiB.
        gpus: GPUs, all of one type.
        accelerator: their type: one of the catalogue (v100, v10032, a100, a10080, rtx8000, h100,
            h200, l4, l40s, t4, a10g), or a type of your own with its figures; None without a GPU.
    """

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=30)
    cpus: int = Field(ge=1)
    host_memory_gib: float = Field(gt=0)
    gpus: int = Field(default=0, ge=0)
    accelerator: str | OwnAcceleratorSpec | None = None

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        if name in (*PROFILES, HOST):
            raise ValueError(f"the catalogue has a profile {name!r} already; choose another name")
        return name

    @field_validator("accelerator")
    @classmethod
    def _known_accelerator(
        cls, given: str | OwnAcceleratorSpec | None
    ) -> str | OwnAcceleratorSpec | None:
        if isinstance(given, str) and given in UNSUPPORTED:
            raise ValueError(f"{given}: {UNSUPPORTED[given]}")
        if isinstance(given, str) and given not in ACCELERATORS:
            raise ValueError(str(UnknownName("accelerator", given, ACCELERATORS)))
        return given

    @model_validator(mode="after")
    def _both_or_none(self) -> OwnProfileSpec:
        if (self.gpus > 0) != (self.accelerator is not None):
            raise ValueError("give both `gpus` and `accelerator`, or neither")
        return self

    def profile(self) -> HardwareProfile:
        """Return it in the catalogue's form, with the list price of GPUs of the catalogue.

        A machine with several GPUs can cost more than as many machines with one.
        """
        price = GPU_PRICES.get(self.accelerator) if isinstance(self.accelerator, str) else None
        source = price.source if price else None
        if price and self.gpus > price.machine_gpus:
            source = (
                f"none: the list price of {self.accelerator} is not that of a machine with "
                f"{self.gpus} of them; give it in `prices`"
            )
            price = None
        return HardwareProfile(
            name=self.name,
            cpus=self.cpus,
            gpus=self.gpus,
            accelerator=self._accelerator(),
            host_memory_bytes=int(self.host_memory_gib * GIB),
            usd_per_hour=self.gpus * price.usd_per_hour if price else None,
            price_source=source,
            price_date=price.date if price else None,
        )

    def _accelerator(self) -> Accelerator | None:
        if isinstance(self.accelerator, str):
            return ACCELERATORS[self.accelerator]
        return None if self.accelerator is None else self.accelerator.accelerator()
