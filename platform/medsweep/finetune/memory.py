"""How much memory a fine-tune needs on one worker: the one model that plan and errors use.

Activations are counted from what PyTorch saves for the backward pass of a Llama block with LoRA on
each of its matrices; a test compares the count with what is really saved. The rest is arithmetic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from medsweep.hardware.profile import GIB
from medsweep.models.precision import DTYPE_BYTES, QUANTIZED_BYTES
from medsweep.models.spec import ModelSpec

FRAGMENTATION = 1.10
"""The allocator's own share: a round allowance, not a measurement."""

CONTEXT_BYTES = GIB // 2
"""CUDA context and libraries: the same."""

SHORTEST_SUGGESTED = 256
"""Tokens: a shorter sequence holds little more than the prompt."""


@dataclass(frozen=True)
class Need:
    """Bytes on one worker at the moment that needs most.

    Attributes:
        weights: of the base model.
        adapters: with their gradients and the optimizer's state.
        activations: kept for the backward pass.
        logits: of the answers' tokens, with their gradient.
    """

    weights: float
    adapters: float
    activations: float
    logits: float

    @property
    def total(self) -> int:
        """All of it, with what the allocator and the driver take."""
        parts = self.weights + self.adapters + self.activations + self.logits
        return int(parts * FRAGMENTATION + CONTEXT_BYTES)


@dataclass(frozen=True)
class Settings:
    """What memory depends on, besides the model.

    Attributes:
        compute: dtype of the matrix products.
        quantization: of the base weights.
        rank: of LoRA.
        targets: modules with LoRA.
        dropout: of LoRA.
        rows: of a forward pass.
        width: tokens of a row.
        gradient_checkpointing: whether a block's activations are computed again instead of kept.
        strategy: `ddp`, `zero2` or `zero3`.
        workers: that the strategy spreads over.
    """

    compute: str
    quantization: str
    rank: int
    targets: tuple[str, ...]
    dropout: float
    rows: int
    width: int
    gradient_checkpointing: bool = False
    strategy: str = "ddp"
    workers: int = 1

    def fields(self) -> dict[str, object]:
        """Return the fields of the recipe that can be changed to need less, in order."""
        return {
            "micro_batch_size": self.rows,
            "gradient_checkpointing": self.gradient_checkpointing,
            "strategy": self.strategy,
            "quantization": self.quantization,
            "max_seq_length": self.width,
        }


def finetune_memory(model: ModelSpec, settings: Settings) -> Need:
    """Return what a fine-tune needs on each worker, in bytes."""
    block_weights = model.parameters - model.embedding_parameters
    plain = DTYPE_BYTES[settings.compute]
    quantized = QUANTIZED_BYTES[settings.quantization] or plain
    weights = block_weights * quantized + model.embedding_parameters * plain
    if settings.strategy == "zero3":
        weights /= settings.workers
    spread = 1 if settings.strategy == "ddp" else settings.workers
    # float32: the weights themselves; gradient and two moments, which ZeRO spreads.
    adapters = lora_weights(model, settings.rank, settings.targets) * (4 + 12 / spread)
    tokens = settings.rows * settings.width
    block = _block_bytes(model, settings)
    kept = model.hidden_size * plain * model.layers + block
    activations = tokens * (kept if settings.gradient_checkpointing else block * model.layers)
    # As computed, in float32, its logarithm and its gradient.
    logits = tokens * model.vocab_size * (plain + 12)
    return Need(weights, adapters, activations, logits)


def lora_weights(model: ModelSpec, rank: int, targets: tuple[str, ...]) -> int:
    """Return how many weights LoRA adds: rank x (inputs + outputs) of each matrix."""
    sizes = _matrix_sizes(model, targets)
    return model.layers * rank * sum(inputs + outputs for inputs, outputs in sizes)


def choose(model: ModelSpec, asked: Settings, available: int, *, free: Collection[str]) -> Settings:
    """Return the settings with those that change time alone set to what fits.

    Most rows at once first, then the same with activations computed again. Where nothing fits, the
    last of these.

    Args:
        model: the base model.
        asked: what was asked for; the most rows there can be.
        available: memory of one worker, in bytes.
        free: which may be chosen: `rows`, `gradient_checkpointing`.
    """
    again = [False, True] if "gradient_checkpointing" in free else [asked.gradient_checkpointing]
    rows = [asked.rows]
    while "rows" in free and rows[-1] > 1:
        rows.append(rows[-1] // 2)
    candidates = [
        replace(asked, rows=count, gradient_checkpointing=each) for each in again for count in rows
    ]
    fitting = (each for each in candidates if finetune_memory(model, each).total <= available)
    return next(fitting, candidates[-1])


def settings_that_fit(model: ModelSpec, settings: Settings, available: int) -> Settings | None:
    """Return the settings nearest to these that fit, or None.

    Cheapest first: fewer rows at once, activations computed again and weights spread over the
    workers cost time alone; quantizing and shorter sequences change what is learnt.

    Args:
        model: the base model.
        settings: what was asked for.
        available: memory of one worker, in bytes.
    """
    for candidate in _ever_smaller(settings):
        if finetune_memory(model, candidate).total <= available:
            return candidate
    return None


def advice(model: ModelSpec, settings: Settings, available: int) -> str:
    """Return what to change so that it fits, as fields of the recipe."""
    has = f"{available / GIB:.1f} GiB"
    fitting = settings_that_fit(model, settings, available)
    if fitting is None:
        return f"no settings make {model.name} fit into {has}; take a profile with more memory"
    given = settings.fields()
    changes = [
        f"finetune.{name}: {str(value).lower()}"
        for name, value in fitting.fields().items()
        if value != given[name]
    ]
    if not changes:
        return f"by count it fits into {has}: is something else using the memory?"
    needed = finetune_memory(model, fitting).total / GIB
    return f"this would fit ({needed:.1f} of {has}): {', '.join(changes)}"


def _ever_smaller(settings: Settings) -> Iterator[Settings]:
    yield settings
    while settings.rows > 1:
        settings = replace(settings, rows=settings.rows // 2)
        yield settings
    if not settings.gradient_checkpointing:
        settings = replace(settings, gradient_checkpointing=True)
        yield settings
    if settings.workers > 1 and settings.strategy != "zero3":
        settings = replace(settings, strategy="zero3")
        yield settings
    if settings.quantization != "nf4":
        settings = replace(settings, quantization="nf4")
        yield settings
    while settings.width >= 2 * SHORTEST_SUGGESTED:
        settings = replace(settings, width=settings.width // 2)
        yield settings


def _block_bytes(model: ModelSpec, settings: Settings) -> float:
    """Return what one block keeps of a token, in bytes.

    Two norms, each its input twice and its output; queries, keys, values and output of the
    attention; gate, its activation, what that is multiplied with and the product. Beside these the
    input of each LoRA matrix, in float32, where that is a copy, with the mask of its dropout.
    """
    plain = DTYPE_BYTES[settings.compute]
    key = model.kv_heads * model.head_dim
    block = 6 * model.hidden_size + 2 * (_query_size(model) + key) + 4 * _mlp_size(model)
    inputs = sum(size for size, _ in _matrix_sizes(model, settings.targets))
    copied = settings.dropout > 0 or plain < 4
    return block * plain + inputs * (4 * copied + 1 * (settings.dropout > 0))


def _matrix_sizes(model: ModelSpec, targets: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return inputs and outputs of each matrix of a block that the targets name."""
    hidden, query, mlp = model.hidden_size, _query_size(model), _mlp_size(model)
    key = model.kv_heads * model.head_dim
    sizes = {
        "q_proj": [(hidden, query)],
        "k_proj": [(hidden, key)],
        "v_proj": [(hidden, key)],
        "o_proj": [(query, hidden)],
        "gate_proj": [(hidden, mlp)],
        "up_proj": [(hidden, mlp)],
        "down_proj": [(mlp, hidden)],
        "c_attn": [(hidden, 3 * hidden)],
        "c_proj": [(hidden, hidden), (mlp, hidden)],
        "c_fc": [(hidden, mlp)],
    }
    # A module that is not in the table is taken for the largest there is.
    return [size for name in targets for size in sizes.get(name, [(mlp, hidden)])]


def _query_size(model: ModelSpec) -> int:
    return max(model.hidden_size, model.kv_heads * model.head_dim)


def _mlp_size(model: ModelSpec) -> int:
    """Return the width of the MLP, from what is left of a block's weights beside the attention."""
    block = (model.parameters - model.embedding_parameters) / model.layers
    attention = 2 * model.hidden_size * (_query_size(model) + model.kv_heads * model.head_dim)
    matrices = model.matrices_per_layer - 4 if model.matrices_per_layer > 4 else 2
    return round((block - attention) / (matrices * model.hidden_size))
