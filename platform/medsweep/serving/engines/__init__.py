"""Engines turn prompts into tokens. The table names them; importing one costs what it needs."""

from __future__ import annotations

ENGINES = {
    "generate": "medsweep.serving.engines.generate:GenerateEngine",
    "continuous": "medsweep.serving.engines.continuous:ContinuousEngine",
    "openvino": "medsweep.serving.engines.openvino:OpenvinoEngine",
    "vllm": "medsweep.serving.engines.vllm:VllmEngine",
    "null": "medsweep.serving.engines.null:NullEngine",
}
"""Engine by name: `module:class`, imported where it is used, because an engine imports torch."""
