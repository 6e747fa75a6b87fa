"""A server's configuration, shared by sweeps, the command line and RayServices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator

from medsweep.config import Closed
from medsweep.errors import UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.serving.admission import Limits
from medsweep.serving.engines import ENGINES
from medsweep.serving.engines.compatibility import replicas_on
from medsweep.serving.protocol import EngineSettings

Folder = Annotated[Path, Strict(False)]


class ServeSpec(Closed):
    """How adapters are served.

    Attributes:
        engine: name of the engine.
        dtype: dtype of the weights; `auto` depends on the profile's compute capability.
        quantization: quantization of the base weights; the choice depends on the engine.
        max_batch_size: most requests in one forward pass.
    """

    engine: str = "generate"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    quantization: Literal["none", "int8", "int4", "nf4"] = "none"
    max_batch_size: int = Field(default=16, ge=1)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        if name not in ENGINES:
            raise ValueError(str(UnknownName("engine", name, ENGINES)))
        return name

    def settings(
        self,
        model: ModelSpec,
        *,
        dtype: str,
        cpus: int | None,
        base: Path | None = None,
        adapters: Mapping[str, Adapter] | None = None,
        gpus: int = 0,
    ) -> EngineSettings:
        """Return an engine's settings.

        Args:
            model: the base model.
            dtype: compute dtype, with `auto` resolved.
            cpus: CPU threads.
            base: folder of the base model's weights; None takes the one that the adapters name.
            adapters: by the name that requests use.
            gpus: GPUs that the engine's process sees.
        """
        return EngineSettings(
            engine=self.engine,
            model=model,
            dtype=dtype,
            quantization=self.quantization,
            max_batch_size=self.max_batch_size,
            cpus=cpus,
            base=base,
            adapters=adapters or {},
            replicas=replicas_on(self.engine, gpus),
        )


class ServeConfig(ServeSpec):
    """One base model with its adapters.

    Attributes:
        base: name of the base model in the catalogue; None takes that of `adapters`.
        base_folder: folder of the base model's weights; None takes the one that `adapters` name, or
            fetches the catalogue's.
        adapters: folder by the name that requests use.
        adapter_root: folder whose subfolders are served as adapters by their own names; they may be
            added and removed while the server runs.
        max_loaded: most adapters in memory.
        limits: limits of the server.
    """

    engine: str = "continuous"
    base: str | None = None
    base_folder: Folder | None = None
    adapters: dict[str, Folder] = Field(default_factory=dict)
    adapter_root: Folder | None = None
    max_loaded: int = Field(default=8, ge=1)
    limits: Limits = Limits()
