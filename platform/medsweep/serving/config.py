"""What one server serves, and how: the same for the command line and for a RayService manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator

from medsweep.config import Closed
from medsweep.errors import UnknownName
from medsweep.serving.admission import Limits
from medsweep.serving.engines import ENGINES

Folder = Annotated[Path, Strict(False)]


class ServeConfig(Closed):
    """One base model with its adapters.

    Attributes:
        base: base model, by its name in the catalogue; not needed where an adapter says it.
        adapters: folder by the name that requests use.
        adapter_root: folder whose subfolders are served as adapters by their own names; they come
            and go while the server runs.
        engine: what turns prompts into tokens.
        dtype: of the computing; `auto` decides from the accelerator.
        quantization: of the base's weights.
        max_batch_size: requests that one forward pass may hold.
        max_loaded: adapters in memory at one time.
        limits: bounds of the server.
    """

    base: str | None = None
    adapters: dict[str, Folder] = Field(default_factory=dict)
    adapter_root: Folder | None = None
    engine: str = "continuous"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    quantization: Literal["none", "int8", "nf4", "int4"] = "none"
    max_batch_size: int = Field(default=16, ge=1)
    max_loaded: int = Field(default=8, ge=1)
    limits: Limits = Limits()

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        if name not in ENGINES:
            raise ValueError(str(UnknownName("engine", name, ENGINES)))
        return name
