"""Converts a model's GGUF file to OpenVINO's format, with the layer names that adapters need.

OpenVINO GenAI builds its graph from GGUF without layer names, and then silently drops every LoRA
tensor. Here the matrix products get the names that they have in an exported model.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.models.cache import build_once
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import gguf_file
from medsweep.serving.engines.openvino_child import FRAME_FILE

# The order in which OpenVINO builds the matrix products of a Llama-like block.
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


def ir_folder(spec: ModelSpec, quantization: str, base: Path) -> Path:
    """Return the folder of the model in OpenVINO's format; convert the model if it is missing.

    Args:
        spec: the model.
        quantization: int4 takes the weights of the GGUF file; int8 those of `base`, in 8 bits.
        base: folder of the model's weights.

    Raises:
        EnvironmentFault: the weights are not available, or OpenVINO builds an unknown graph.
    """
    source = gguf_file(spec)
    # From the metadata: importing the package takes a second.
    name = f"{source.parent.name}-openvino-{metadata.version('openvino-genai')}"
    if quantization == "int4":
        return build_once(
            source.parent.with_name(name), lambda to: _convert(spec, source, None, to)
        )
    folder = source.parent.with_name(f"{name}-{quantization}-{base.name}")
    return build_once(folder, lambda to: _convert(spec, source, base, to))


def _convert(spec: ModelSpec, source: Path, base: Path | None, folder: Path) -> None:
    import openvino
    import openvino_genai

    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copied = Path(scratch) / "model.gguf"
        shutil.copy(source, copied)
        openvino_genai.LLMPipeline(str(copied), "CPU", enable_save_ov_model=True)
        model = openvino.Core().read_model(Path(scratch) / "openvino_model.xml")
        layers = _name_layers(spec, model)
        _save_frame(layers, folder / FRAME_FILE)
        if base is not None:
            _take_weights(layers, base)
        openvino.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
        for file in Path(scratch).glob("openvino_*tokenizer.*"):
            shutil.copy(file, folder)


def _name_layers(spec: ModelSpec, model: Any) -> dict[str, Any]:
    """Give the layers their names in an exported model; return them by their PyTorch names."""
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
            f"this version of OpenVINO GenAI builds {spec.name} with other layers than expected; "
            "adapters would not be applied"
        )
    layers = dict(zip(names, of_blocks, strict=True))
    for name, node in layers.items():
        node.set_friendly_name(f"__module.{name}/ov_ext::linear/MatMul")
    return layers


def _take_weights(layers: dict[str, Any], base: Path) -> None:
    """Replace the layers' weights by those of `base`, in 8 bits with one scale per output.

    The embedding, which the output layer shares, keeps the 8-bit weights of the GGUF file.
    """
    from openvino import opset13
    from safetensors import safe_open

    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 it is no dictionary
                node = layers.get(key.removesuffix(".weight"))
                if node is None:
                    continue
                weight = tensors.get_tensor(key).float()
                scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
                rounded = opset13.constant((weight / scale).round().char().numpy())
                product = opset13.multiply(opset13.convert(rounded, "f32"), scale.numpy())
                node.input(1).replace_source_output(product.output(0))


def _save_frame(layers: dict[str, Any], file: Path) -> None:
    """Save an adapter of zeros for every layer; the pipeline is opened with it."""
    import numpy
    from safetensors.numpy import save_file

    zeros: dict[str, Any] = {}
    for name, node in layers.items():
        outputs, inputs = node.input_value(1).get_shape()
        layer = f"base_model.model.{name}"
        zeros[f"{layer}.lora_A.weight"] = numpy.zeros((1, inputs), numpy.float32)
        zeros[f"{layer}.lora_B.weight"] = numpy.zeros((outputs, 1), numpy.float32)
    save_file(zeros, file)


def _multiplies_weights(node: Any) -> bool:
    source = node.input_value(1).get_node()
    while source.get_type_name() in _AROUND_WEIGHTS:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Constant")


def _feeds_swish(node: Any) -> bool:
    users = node.output(0).get_target_inputs()
    return any(user.get_node().get_type_name() == "Swish" for user in users)
