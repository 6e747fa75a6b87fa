"""The recipe of a fine-tune: one typed object from the sweep file to the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from medsweep.config import Closed

if TYPE_CHECKING:
    from medsweep.models.spec import ModelSpec

ScheduleShape = Literal["linear", "cosine", "constant"]
Packing = Literal["bucketed", "packed", "padded"]
StrategyName = Literal["ddp", "zero2", "zero3"]

Rank = Annotated[int, Field(ge=1)]
Alpha = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
SequenceLength = Annotated[int, Field(ge=16)]

NOT_LEARNT = frozenset(
    {
        "micro_batch_size",
        "packing",
        "gradient_checkpointing",
        "strategy",
        "workers",
        "checkpoint_steps",
    }
)
"""Fields that change how the computation is done, not what is learnt."""


class Recipe(Closed):
    """How an adapter is trained; the defaults are the highlighted values of the paper's Table 1.

    Attributes:
        rank: LoRA rank.
        alpha: LoRA scaling.
        dropout: LoRA dropout.
        targets: modules to adapt; None takes the model's own from the catalogue.
        epochs: passes over the training side.
        learning_rate: peak of AdamW's learning rate.
        schedule: shape of the learning rate after the warm-up; both decays end at zero.
        warmup_share: share of the steps over which the learning rate rises.
        batch_size: sequences per optimizer step, over all workers.
        micro_batch_size: most rows of full length per forward pass of one worker; None takes as
            many tokens, in rows of any length, as fit its memory.
        max_seq_length: tokens; longer sequences are cut at the end, and counted.
        packing: `bucketed` puts sequences of similar length into a forward pass, `packed` several
            into one row; `padded` pads each to max_seq_length, as the paper did. A step's sequences
            are drawn at random, and are the same in all three.
        quantization: quantization of the base weights during training; needs the extra `quant`.
        dtype: dtype of the computation; `auto` follows the GPU's compute capability.
        gradient_checkpointing: recompute activations instead of keeping them; None does so only
            where they would not fit.
        strategy: for several workers; zero2 and zero3 need the extra `deepspeed`.
        workers: number of workers; None takes one per GPU, or one without a GPU.
        checkpoint_steps: optimizer steps between checkpoints, besides one at each epoch's end.
        patience: epochs in a row without a lower evaluation loss after which training stops; None
            trains all epochs.
        min_delta: nats by which a loss must be lower to count.
    """

    rank: Rank = 16
    alpha: Alpha = 16
    dropout: Dropout = 0.25
    targets: list[str] | None = None
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    schedule: ScheduleShape = "linear"
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    batch_size: int = Field(default=8, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    max_seq_length: SequenceLength = 2048
    packing: Packing = "bucketed"
    quantization: Literal["none", "int8", "nf4"] = "none"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    gradient_checkpointing: bool | None = None
    strategy: StrategyName = "ddp"
    workers: int | None = Field(default=None, ge=1)
    checkpoint_steps: int = Field(default=50, ge=1)
    patience: int | None = Field(default=None, ge=1)
    min_delta: float = Field(default=0.0, ge=0)

    def changed(self, **values: Any) -> Self:
        """Return the recipe with other values for some fields, validated like the first."""
        return type(self).model_validate({**dict(self), **values})

    def modules(self, model: ModelSpec) -> tuple[str, ...]:
        """Return the modules of a model to adapt."""
        return tuple(self.targets or model.lora_targets)

    def width(self, model: ModelSpec) -> int:
        """Return how many tokens of a sequence are kept: at most the model's context."""
        return min(self.max_seq_length, model.context_length)
