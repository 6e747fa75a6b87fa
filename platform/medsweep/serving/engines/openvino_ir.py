"""A model's GGUF file as OpenVINO reads it, with names by which adapters find their layers.

OpenVINO GenAI builds its graph from GGUF without the layers' names, and then drops every LoRA
tensor in silence. Here the matrix products are named as an exported model has them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import gguf_file, made_once

# The order in which the products of a Llama-like block are built.
_OF_A_BLOCK = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
_AROUND_WEIGHTS = ("Convert", "Reshape", "Multiply", "Subtract")


def ir_folder(spec: ModelSpec) -> Path:
    """Return the folder of the model in OpenVINO's format, made from GGUF where it is not there.

    Raises:
        EnvironmentFault: the weights cannot be had, or OpenVINO builds another graph of them.
    """
    import openvino_genai

    source = gguf_file(spec)
    version = openvino_genai.get_version()
    folder = source.parent.with_name(f"{source.parent.name}-openvino-{version}")
    return made_once(folder, lambda made: _convert(spec, source, made))


def _convert(spec: ModelSpec, source: Path, folder: Path) -> None:
    import openvino
    import openvino_genai

    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copied = Path(scratch) / "model.gguf"
        shutil.copy(source, copied)
        openvino_genai.LLMPipeline(str(copied), "CPU", enable_save_ov_model=True)
        model = openvino.Core().read_model(Path(scratch) / "openvino_model.xml")
        _name_layers(spec, model)
        openvino.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
        for file in Path(scratch).glob("openvino_*tokenizer.*"):
            shutil.copy(file, folder)


def _name_layers(spec: ModelSpec, model: Any) -> None:
    products = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul" and _multiplies_weights(node)
    ]
    products.sort(key=lambda node: int(node.get_friendly_name().rpartition("_")[2]))
    of_blocks = products[:-1]  # the last is the output embedding
    names = [f"model.layers.{block}.{part}" for block in range(spec.layers) for part in _OF_A_BLOCK]
    if len(of_blocks) != len(names) or any(
        _feeds_swish(node) != name.endswith("gate_proj")
        for node, name in zip(of_blocks, names, strict=True)
    ):
        raise EnvironmentFault(
            f"this version of OpenVINO GenAI lays {spec.name} out in a way that is not known; "
            "adapters would not be applied"
        )
    for node, name in zip(of_blocks, names, strict=True):
        node.set_friendly_name(f"__module.{name}/ov_ext::linear/MatMul")


def _multiplies_weights(node: Any) -> bool:
    source = node.input_value(1).get_node()
    while source.get_type_name() in _AROUND_WEIGHTS:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Constant")


def _feeds_swish(node: Any) -> bool:
    users = node.output(0).get_target_inputs()
    return any(user.get_node().get_type_name() == "Swish" for user in users)
