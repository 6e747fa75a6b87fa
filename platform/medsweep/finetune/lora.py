"""Put LoRA layers on a base model, with dropout that is cheap on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from medsweep.errors import StageError

if TYPE_CHECKING:
    import torch

LANES = 4
"""16-bit numbers in one 64-bit number of the generator."""

LEVELS = 2**16
"""Resolution of the share that is kept."""


def add_lora(base: Any, *, rank: int, alpha: int, dropout: float, targets: Sequence[str]) -> Any:
    """Return the base model with trainable LoRA layers (Hu et al., 2021) on the target modules.

    Args:
        base: a causal language model of transformers; its own weights are frozen.
        rank: rank of the update.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the layer's input dropped in training.
        targets: last part of the names of the modules to adapt.

    Raises:
        StageError: a target matches no module; the message lists the names of the model.
    """
    from peft import LoraConfig, get_peft_model

    linear = {
        name.rpartition(".")[2]: type(module).__name__
        for name, module in base.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")
    }
    unknown = sorted(set(targets) - set(linear))
    if unknown:
        raise StageError(
            f"finetune.targets: no module is called {', '.join(unknown)}; "
            f"this model has {', '.join(sorted(set(linear) - {'lm_head'}))}"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        # GPT-2's Conv1D holds its weight transposed; quantized, it is a linear layer like others.
        fan_in_fan_out=any(linear[target] == "Conv1D" for target in targets),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    cheapen_dropout(model)
    keep_input_dtype(model)
    return model


def keep_input_dtype(model: Any) -> None:
    """Make a model's LoRA layers take their input in the dtype that it has, under autocast.

    PEFT casts it to the float32 of the trained weights, and autocast casts it back to 16 bits: two
    kernels per matrix, and a float32 copy that is kept for the backward pass. Autocast alone casts
    the weights instead, and their gradients are in float32 either way. Without autocast, as in
    evaluation, PEFT's cast stays.
    """
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer._cast_input_dtype = partial(_cast, layer._cast_input_dtype)


def _cast(
    cast: Callable[[torch.Tensor, torch.dtype], torch.Tensor],
    given: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    import torch

    if given.dtype == dtype or torch.is_autocast_enabled(given.device.type):
        return given
    return cast(given, dtype)


def cheapen_dropout(model: Any) -> None:
    """Make a model's dropout layers take four decisions from one random number on a CPU.

    PyTorch draws one number per element there, one after another; with a small model that takes a
    fifth of a step on two cores (docs/finetuning.md). On a GPU the layers are unchanged.
    """
    from torch.nn import Dropout

    dropping: list[Any] = [each for each in model.modules() if type(each) is Dropout and each.p]
    for layer in dropping:
        layer.forward = partial(drop, layer)


def drop(layer: torch.nn.Dropout, given: torch.Tensor) -> torch.Tensor:
    """Return the input with a share `layer.p` of its elements dropped and the rest scaled up."""
    import torch

    if not layer.training or given.device.type != "cpu":
        return torch.nn.functional.dropout(given, layer.p, layer.training)
    count = given.numel()
    drawn = torch.empty(-(-count // LANES), dtype=torch.int64).random_(-(2**63), None)
    numbers = drawn.view(torch.int16)[:count].view(given.shape)
    kept = numbers >= round(layer.p * LEVELS) - LEVELS // 2
    return given * kept.to(given.dtype).div_(1 - layer.p)
