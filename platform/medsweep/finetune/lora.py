"""Put LoRA layers on a base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medsweep.errors import StageError
from medsweep.finetune.dropout import cheapen_dropout


def add_lora(base: Any, *, rank: int, alpha: int, dropout: float, targets: Sequence[str]) -> Any:
    """Return the base model with trainable LoRA layers (Hu et al., 2021) on the target modules.

    Args:
        base: a causal language model of transformers; its own weights are frozen.
        rank: rank of the update.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the layer's input dropped in training.
        targets: last part of the names of the modules to adapt.

    Raises:
        StageError: a target matches no module; the message lists the names there are.
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
    return model
