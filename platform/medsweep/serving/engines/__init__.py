"""Engines turn prompts into tokens. The table names them; importing one costs what it needs."""

from __future__ import annotations

import pkgutil

from medsweep.serving.engines.plugins import plugin_class, plugins
from medsweep.serving.engines.replicas import ReplicatedEngine
from medsweep.serving.protocol import Engine, EngineSettings

ENGINES = {
    "generate": "medsweep.serving.engines.generate:GenerateEngine",
    "continuous": "medsweep.serving.engines.continuous:ContinuousEngine",
    "openvino": "medsweep.serving.engines.openvino:OpenvinoEngine",
    "vllm": "medsweep.serving.engines.vllm:VllmEngine",
    "null": "medsweep.serving.engines.null:NullEngine",
}
"""Engine by name: `module:class`, imported where it is used, because an engine imports torch."""


def known_engines() -> dict[str, str]:
    """Return the class of each engine by name, those of other packages included.

    A plugin cannot take the name of an engine that ships.
    """
    return {name: entry.value for name, entry in plugins().items()} | ENGINES


def open_engine(settings: EngineSettings) -> Engine:
    """Load an engine's base model and adapters.

    Raises:
        InputError: an adapter of another base model, neither a base folder nor an adapter, or a
            quantization that the engine does not have.
        EnvironmentFault: a package that the engine needs is missing.
    """
    if settings.replicas > 1:
        return ReplicatedEngine(settings, open_engine)
    if settings.engine not in ENGINES:
        plugin: Engine = plugin_class(settings.engine)(settings)
        return plugin
    engine: Engine = pkgutil.resolve_name(ENGINES[settings.engine])(settings)
    return engine
