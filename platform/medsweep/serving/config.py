"""A server's configuration, shared by sweeps, the command line and RayServices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator

from medsweep.config import Closed
from medsweep.errors import UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.spec import ModelSpec
from medsweep.serving.admission import Limits
from medsweep.serving.engines import known_engines
from medsweep.serving.engines.choice import AUTO
from medsweep.serving.engines.compatibility import gpu_use
from medsweep.serving.protocol import EngineSettings

Folder = Annotated[Path, Strict(False)]


class ServeSpec(Closed):
    """How a model is served.

    Attributes:
        engine: name of the engine, or `auto`: the preferred one that is installed and supports the
            hardware and the model, by the table in docs/engines.md.
        dtype: dtype of the weights; `auto` depends on the profile's compute capability.
        quantization: quantization of the base weights; the choice depends on the engine.
        max_batch_size: most requests in one forward pass.
        prefix_caching: share the KV cache of prompts that begin alike, where the engine can. The
            repeats of a sweep ask the same questions, which a cache makes faster than new ones.
    """

    engine: str = AUTO
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    quantization: Literal["none", "int8", "int4", "nf4"] = "none"
    max_batch_size: int = Field(default=16, ge=1)
    prefix_caching: bool = False

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        if name == "external":
            raise ValueError(
                "an external server is an entry of `cells` with `engine: external`, "
                "not an engine that MedSweep starts; see docs/external.md"
            )
        if name not in (AUTO, *(known := known_engines())):
            raise ValueError(str(UnknownName("engine", name, [AUTO, *known])))
        return name

    def settings(
        self,
        engine: str,
        model: ModelSpec,
        *,
        dtype: str,
        cpus: int | None,
        profile: HardwareProfile | None = None,
        base: Path | None = None,
        adapters: Mapping[str, Adapter] | None = None,
        max_adapters: int = 0,
        max_rank: int | None = None,
        max_model_len: int | None = None,
    ) -> EngineSettings:
        """Return an engine's settings.

        Args:
            engine: name of the engine, with `auto` resolved.
            model: the base model.
            dtype: compute dtype, with `auto` resolved.
            cpus: CPU threads.
            profile: hardware that the engine's process sees; None is a CPU.
            base: folder of the base model's weights; None takes the one that the adapters name.
            adapters: by the name that requests use.
            max_adapters: most adapters that are loaded later, at a time.
            max_rank: highest rank of those; None where it is not known.
            max_model_len: most tokens of a prompt and its answer; None is the model's context.
        """
        settings = EngineSettings(
            engine=engine,
            model=model,
            dtype=dtype,
            quantization=self.quantization,
            max_batch_size=self.max_batch_size,
            cpus=cpus,
            base=base,
            adapters=adapters or {},
            max_adapters=max_adapters,
            max_rank=max_rank,
            max_model_len=max_model_len,
            prefix_caching=self.prefix_caching,
        )
        return settings if profile is None else on_gpus(settings, profile)


def on_gpus(settings: EngineSettings, profile: HardwareProfile) -> EngineSettings:
    """Return settings that use the GPUs of a machine, for the longest request they allow.

    Args:
        settings: settings of an engine.
        profile: hardware that the engine's process sees.
    """
    use = gpu_use(
        settings.engine,
        settings.model,
        profile,
        dtype=settings.dtype,
        quantization=settings.quantization,
        tokens=settings.longest_request,
    )
    return replace(settings, replicas=use.replicas, gpus=use.gpus, gpu_use=use.words)


class SweepServeSpec(ServeSpec):
    """How the cells of a sweep serve their adapters.

    Attributes:
        adapters: `live` applies the adapter beside the base, as a server of many adapters does;
            `merged` adds it to a copy of the base, which is then as fast as the base; `auto` takes
            the faster one that the engine supports. A list of `live` and `merged` makes a cell of
            each.
    """

    adapters: Literal["live", "merged", "auto"] | list[Literal["live", "merged"]] = "live"

    @property
    def ways(self) -> list[str]:
        """How the adapters are served: one way, or several."""
        return [self.adapters] if isinstance(self.adapters, str) else list(self.adapters)

    @field_validator("adapters")
    @classmethod
    def _distinct_ways(cls, ways: str | list[str]) -> str | list[str]:
        if isinstance(ways, list) and (not ways or len(set(ways)) < len(ways)):
            raise ValueError("expected live, merged or auto, or a list of live and merged")
        return ways


class ServeConfig(ServeSpec):
    """One base model with its adapters.

    Attributes:
        base: name of the base model in the catalogue; None takes that of `adapters`.
        base_folder: folder of the base model's weights; None takes the one that `adapters` name, or
            fetches the catalogue's.
        adapters: folder by the name that requests use.
        adapter_root: folder whose subfolders are served as adapters by their own names; they may be
            added and removed while the server runs.
        merged: serve the only adapter merged into a copy of its base, without the base: as fast as
            a base, and with engines that have no LoRA for the model too.
        max_loaded: most adapters in memory.
        limits: limits of the server.
    """

    prefix_caching: bool = True
    base: str | None = None
    base_folder: Folder | None = None
    adapters: dict[str, Folder] = Field(default_factory=dict)
    adapter_root: Folder | None = None
    merged: bool = False
    max_loaded: int = Field(default=8, ge=1)
    limits: Limits = Limits()
