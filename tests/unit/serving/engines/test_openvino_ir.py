"""The names given to OpenVINO's layers: each must hold the weights of the layer so called."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsweep.errors import EnvironmentFault
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines.openvino_ir import _OF_A_BLOCK, _name_layers, ir_folder
from support import package

SPEC = MODELS["smollm2-135m"]


class Graph:
    """A model that has no products at all."""

    def get_ordered_ops(self) -> list[Any]:
        return []


def test_another_graph_is_refused_rather_than_named_wrongly() -> None:
    with pytest.raises(EnvironmentFault, match="adapters would not be applied"):
        _name_layers(SPEC, Graph())


@pytest.mark.slow
@pytest.mark.parametrize(("quantization", "alike"), [("int8", 0.9999), ("int4", 0.98)])
def test_each_layer_has_its_own_weights(quantization: str, alike: float) -> None:
    package("openvino_genai")
    import openvino
    from safetensors import safe_open

    folder: Path = fetch_weights(identify(SPEC, []))
    core = openvino.Core()
    model = core.read_model(ir_folder(SPEC, quantization, folder) / "openvino_model.xml")
    named = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    with safe_open(next(folder.glob("*.safetensors")), "np") as weights:
        for layer in (0, SPEC.layers - 1):
            for part in _OF_A_BLOCK:
                node = named[f"__module.model.layers.{layer}.{part}/ov_ext::linear/MatMul"]
                only = openvino.Model([node.input_value(1)], [])
                found = core.compile_model(only, "CPU", exact)([])[0]
                true = weights.get_tensor(f"model.layers.{layer}.{part}.weight")
                # OpenVINO rounds the 4 bits once more: not the same values, but nearly.
                assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > alike, (layer, part)
