"""A model's GGUF file as OpenVINO reads it, with names by which adapters find their layers.

OpenVINO GenAI builds its graph from GGUF without the layers' names, and then drops every LoRA
tensor in silence. Here the matrix products are named as an exported model has them.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import build_once, gguf_file
from medsweep.serving.engines.openvino_child import FRAME_FILE

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


def ir_folder(spec: ModelSpec, quantization: str, base: Path) -> Path:
    """Return the folder of the model in OpenVINO's format, made where it is not there.

    Args:
        spec: the model.
        quantization: int4: the weights of the GGUF file; int8: those of `base` in 8 bits.
        base: folder of the model's weights.

    Raises:
        EnvironmentFault: the weights cannot be had, or OpenVINO builds another graph of them.
    """
    source = gguf_file(spec)
    # Not asked of the package itself, which takes a second to import.
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
    """Name the layers as an exported model has them; return them by their names in PyTorch."""
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
    layers = dict(zip(names, of_blocks, strict=True))
    for name, node in layers.items():
        node.set_friendly_name(f"__module.{name}/ov_ext::linear/MatMul")
    return layers


def _take_weights(layers: dict[str, Any], base: Path) -> None:
    """Give the layers a model's own weights, in 8 bits with one scale for each output.

    The embedding, which the output layer shares, stays the GGUF file's: it has 8 bits there.
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
                whole = opset13.constant((weight / scale).round().char().numpy())
                product = opset13.multiply(opset13.convert(whole, "f32"), scale.numpy())
                node.input(1).replace_source_output(product.output(0))


def _save_frame(layers: dict[str, Any], file: Path) -> None:
    """Save an adapter of zeros on every layer: what the pipeline is opened for all others with."""
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
