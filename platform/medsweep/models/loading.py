"""Load models and tokenizers from folders: no code of theirs is run, and no hub is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault, InputError
from medsweep.hardware.nvidia import number_gpus_as_nvml

LOCAL = {"trust_remote_code": False, "local_files_only": True}
"""Without these transformers asks whether to run a folder's code, and asks the hub for the rest."""

_DEFAULT_POSITIONS = 512

MLP_FRACTION = 1 / 64
"""Of its values, in which the MLP of a float16 Gemma computes; a power of two, so it only moves the
range: 64 times as large values fit, and values below 0.004 lose digits."""


def check_model_folder(folder: Path) -> None:
    """Refuse a folder of a base model that would make transformers load something else.

    Args:
        folder: of a base model.

    Raises:
        InputError: it holds an adapter, or as in `refuse_code`.
    """
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{folder}: holds adapter_config.json, so transformers would load an adapter on top of "
            "another base; give the folder of the base model"
        )
    refuse_code(folder)


def refuse_code(folder: Path) -> None:
    """Refuse a folder of a model or an adapter whose configuration names code.

    Args:
        folder: with configuration files.

    Raises:
        InputError: a configuration names code of its own (`auto_map`) or attention kernels of the
            hub, or cannot be read.
    """
    for path in sorted(folder.glob("*config.json")):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read as JSON: {type(error).__name__}") from None
        fields = config if isinstance(config, dict) else {}
        kernels = (fields.get(name) for name in ("_attn_implementation", "attn_implementation"))
        if "auto_map" in fields or any("/" in str(each) for each in kernels):
            raise InputError(
                f"{path}: names code that comes with the model (auto_map, or attention kernels); "
                "MedSweep runs none. Take a model that transformers supports without it"
            )


def load_model(folder: Path, **options: Any) -> Any:
    """Return the causal language model in a folder, from safetensors.

    Args:
        folder: of a base model.
        options: further arguments of `from_pretrained`.

    Raises:
        InputError: as in `check_model_folder`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    check_model_folder(folder)
    number_gpus_as_nvml()
    # cuDNN's attention makes a new plan for each length of the sequence, so that every token of an
    # answer is the first of its length: 60 ms instead of 6 (DistilGPT2 on an H100).
    torch.backends.cuda.enable_cudnn_sdp(False)
    options = {"attn_implementation": "sdpa", **options}
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **LOCAL, **options)
    if (model.config.model_type, model.dtype) == ("gemma", torch.float16):
        _keep_residual_in_float32(model.model)
    return model


def _keep_residual_in_float32(decoder: Any) -> None:
    """Have a float16 Gemma add up its residual stream, which leaves float16's range, in float32.

    Norms return float16 again, so that every matrix product is in float16. The product inside an
    MLP and the MLP's output can leave the range too: both are computed at a fraction, which the
    float32 sum takes back. No hook is on a layer that an adapter may change.

    Args:
        decoder: transformers' `GemmaModel`.
    """

    def hook(module: Any, change: Callable[[Any], Any]) -> None:
        module.register_forward_hook(lambda _, __, output: change(output))

    hook(decoder.embed_tokens, lambda embedded: embedded.float())
    hook(decoder.rotary_emb, lambda angles: tuple(each.half() for each in angles))
    hook(decoder.norm, lambda normed: normed.half())
    for layer in decoder.layers:
        hook(layer.input_layernorm, lambda normed: normed.half())
        hook(layer.post_attention_layernorm, lambda normed: normed.half())
        hook(layer.mlp.act_fn, lambda active: active * MLP_FRACTION)
        hook(layer.mlp, lambda output: output.float() / MLP_FRACTION)


def load_tokenizer(folder: Path, **options: Any) -> Any:
    """Return the tokenizer in a folder of a model or an adapter.

    Args:
        folder: of a base model or an adapter.
        options: further arguments of `from_pretrained`.

    Raises:
        InputError: as in `refuse_code`.
    """
    from transformers import AutoTokenizer

    refuse_code(folder)
    return AutoTokenizer.from_pretrained(folder, **LOCAL, **options)


class DeviceModel:
    """A model that computes on a GPU if there is one, and on the CPU once the GPU is full.

    Attributes:
        device: where it computes, by PyTorch's name.

    Args:
        model: a model of transformers.
        folder: where its weights are.
        device: `cpu`, `cuda` or `cuda:<number>`; None takes a GPU if there is one.

    Raises:
        InputError: the device is missing, broken or has no room for the weights.
    """

    def __init__(self, model: Any, folder: Path, device: str | None = None) -> None:
        import torch

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._model = model.eval().to(self.device)
        except (RuntimeError, AssertionError) as error:
            # CUDA adds paragraphs of advice on debugging.
            reason, *_ = str(error).splitlines() or [type(error).__name__]
            cause = reason.rstrip(".")
            remedy = "name another device" if device else "set CUDA_VISIBLE_DEVICES= to use the CPU"
            raise InputError(
                f"{folder}: does not load onto the device {self.device}: {cause}; {remedy}"
            ) from None

    def __call__(self, **inputs: Any) -> Any:
        """Return the model's outputs, computed without gradients.

        Args:
            inputs: tensors on any device, by name of the model's argument.
        """
        import torch

        try:
            with torch.inference_mode():
                return self._model(**{name: each.to(self.device) for name, each in inputs.items()})
        except torch.OutOfMemoryError:
            if self.device == "cpu":
                raise
            # An engine may hold the rest of the GPU.
            self.device = "cpu"
            self._model = self._model.to("cpu")
            return self(**inputs)


def longest_input(model: Any, tokenizer: Any) -> int:
    """Return the most tokens that an encoder reads at a time, those of its tokenizer included."""
    return int(min(tokenizer.model_max_length, _positions(model)))


def _positions(model: Any) -> int:
    """Return how many tokens a model has positions for; RoBERTa's first ones are for padding."""
    for name, module in model.named_modules():
        if (
            name.endswith("position_embeddings")
            and getattr(module, "padding_idx", None) is not None
        ):
            return int(module.num_embeddings - module.padding_idx - 1)
    return getattr(model.config, "max_position_embeddings", None) or _DEFAULT_POSITIONS


def answer_cut(folder: Path, tokens: int) -> Callable[[str], tuple[str, bool]] | None:
    """Return what cuts a text off at a number of tokens, and tells whether it was longer.

    Args:
        folder: of a base model or an adapter.
        tokens: the longest allowed.

    Returns:
        None if the folder has no `tokenizer.json`.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))

    def cut(text: str) -> tuple[str, bool]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if len(ids) <= tokens:
            return text, False
        return str(tokenizer.decode(ids[:tokens])), True

    return cut


def bitsandbytes_config(quantization: str, dtype: Any, *, storage: Any = None) -> Any:
    """Return the configuration that makes transformers quantize weights while it loads them.

    Args:
        quantization: `int8` (LLM.int8) or `nf4` (with double quantization).
        dtype: of the computation, a torch dtype.
        storage: torch dtype that holds nf4 values; None takes bytes. ZeRO-3 shards only tensors of
            a floating dtype.

    Raises:
        EnvironmentFault: bitsandbytes is not installed, or this processor multiplies int8 wrongly.
    """
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise EnvironmentFault(
            f"quantization {quantization} needs bitsandbytes: pip install 'medsweep[quant]'"
        )
    if quantization == "int8":
        if not torch.cuda.is_available() and not int8_products_are_exact():
            raise EnvironmentFault(
                "quantization int8: PyTorch's int8 products are wrong on this processor, which "
                "lacks VNNI instructions (or ONEDNN_MAX_CPU_ISA hides them); use nf4 or none"
            )
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=storage,
    )


@cache
def int8_products_are_exact() -> bool:
    """Return whether this processor's int8 matrix products, which LLM.int8 needs, are right.

    Without VNNI instructions oneDNN adds pairs of products in 16 bits, where they saturate.
    """
    import torch

    random = torch.Generator().manual_seed(0)
    one = torch.randint(-127, 128, (32, 256), dtype=torch.int8, generator=random)
    other = torch.randint(-127, 128, (256, 64), dtype=torch.int8, generator=random)
    exact = (one.double() @ other.double()).int()
    return bool((torch._int_mm(one, other) == exact).all())
