"""The stages of the GPU check, in the order in which they run."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Stage:
    """Some parts of the check that belong together.

    Attributes:
        limit_s: longest time of each part, in seconds; then it is ended, and the next one begins.
        parts: `module:function` below this package; a function takes the report.
    """

    limit_s: float
    parts: tuple[str, ...]


STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        "machine": Stage(
            60, ("machine:packages", "machine:describe", "machine:visible", "machine:sustained")
        ),
        "training-right": Stage(
            150,
            (
                "training_right:layouts",
                "training_right:dtypes",
                "training_right:resume",
                "training_right:leak",
                "training_right:overflow",
                "training_right:job",
            ),
        ),
        "metrics": Stage(120, ("metrics:bertscore",)),
        "two-workers": Stage(120, ("two_workers:ddp",)),
        "zero": Stage(180, ("two_workers:zero2",)),
        "serving-right": Stage(180, ("serving_right:parity", "serving_right:dtypes")),
        "prefix": Stage(180, ("prefix:answers", "prefix:speed")),
        "float16": Stage(60, ("float16:gemma",)),
        "memory": Stage(150, ("out_of_memory:serving",)),
        "training-fast": Stage(
            180,
            (
                "training_fast:speed",
                "training_fast:compiled",
                "training_fast:memory",
                "training_fast:evaluation",
            ),
        ),
        "serving-fast": Stage(
            180, ("serving_fast:speed", "serving_fast:without_graphs", "serving_fast:generate")
        ),
        "one-core": Stage(120, ("serving_fast:one_core",)),
        "traces": Stage(120, ("traces:decoding", "traces:training")),
        "endpoint": Stage(180, ("endpoint:bench",)),
        "two-gpus": Stage(180, ("two_gpus:replicas",)),
        "vllm": Stage(400, ("vllm_engine:parity", "vllm_engine:speed")),
        "sweep": Stage(400, ("sweep:run",)),
    }
)


def parts_of(names: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the parts that some names stand for, each with its time limit in seconds.

    Args:
        names: of stages, or of single parts.

    Raises:
        KeyError: a name is neither; its argument is the name.
    """
    limits = {part: stage.limit_s for stage in STAGES.values() for part in stage.parts}
    parts: dict[str, float] = {}
    for name in names:
        for part in STAGES[name].parts if name in STAGES else (name,):
            parts[part] = limits[part]
    return list(parts.items())
