"""How much memory a fine-tune needs on one worker: the one model behind `plan` and the errors.

Activations are counted from what PyTorch saves for the backward pass of a Llama block with LoRA on
each of its matrices; a test compares the count with what is actually saved. The rest is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from medsweep.errors import StageError
from medsweep.finetune.evaluate import QUESTIONS
from medsweep.finetune.loss import LOSS_CHUNK
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.zero import BUCKET_ELEMENTS, LIVE_ELEMENTS
from medsweep.hardware.profile import GIB
from medsweep.models.precision import DTYPE_BYTES, QUANTIZED_BYTES
from medsweep.models.spec import ModelSpec

FRAGMENTATION = 1.10
"""Allowance for the allocator: a round number, not a measurement."""

CONTEXT_BYTES = GIB // 2
"""Allowance for the CUDA context and libraries: a round number too."""

SHORTEST_SUGGESTED = 256
"""Tokens: a shorter sequence holds little more than the prompt."""

SAVING_FIELDS = (
    "micro_batch_size",
    "gradient_checkpointing",
    "strategy",
    "quantization",
    "max_seq_length",
)
"""Fields of the recipe that can be changed to need less memory."""


@dataclass(frozen=True)
class Need:
    """Peak bytes on one worker.

    Attributes:
        weights: of the base model; with ZeRO-3 a worker's shard and what is gathered at a time.
        adapters: with their gradients, the optimizer's state and ZeRO's buffer of gradients.
        activations: kept for the backward pass.
        logits: of the answers' tokens; their gradient overwrites them.
        evaluation: of the evaluation loss or of the answers to the questions, whichever is more;
            they run when activations and logits are freed.
    """

    weights: float
    adapters: float
    activations: float
    logits: float
    evaluation: float

    @property
    def total(self) -> int:
        """The sum at the peak, with the allowances for the allocator and the driver."""
        peak = max(self.activations + self.logits, self.evaluation)
        return int((self.weights + self.adapters + peak) * FRAGMENTATION + CONTEXT_BYTES)


@dataclass(frozen=True)
class Settings:
    """A recipe on a model, with what was resolved for one worker.

    Attributes:
        model: the base model.
        recipe: the recipe; `choose` fills in what it leaves open.
        compute: dtype of the matrix products.
        workers: workers that share a step, and the weights where the strategy shards them.
        pass_tokens: most tokens of a forward pass; None as many as the rows may have.
    """

    model: ModelSpec
    recipe: Recipe
    compute: str
    workers: int = 1
    pass_tokens: int | None = None

    @property
    def rows(self) -> int:
        """Most rows of one worker's forward pass, where they are short enough."""
        share = -(-self.recipe.batch_size // self.workers)
        return min(share, self.recipe.micro_batch_size or share)

    @property
    def tokens(self) -> int:
        """Most tokens of one worker's forward pass, padding included; at least one full row."""
        full = self.rows * self.width
        return max(self.width, min(full, self.pass_tokens or full))

    @property
    def width(self) -> int:
        """Tokens of a row."""
        return self.recipe.width(self.model)

    def changed(self, **values: Any) -> Settings:
        """Return the settings with other values for some fields of the recipe."""
        return replace(self, recipe=self.recipe.changed(**values))


def finetune_memory(settings: Settings) -> Need:
    """Return what a fine-tune needs on each worker, in bytes."""
    model, recipe = settings.model, settings.recipe
    block_weights = model.parameters - model.embedding_parameters
    plain = DTYPE_BYTES[settings.compute]
    quantized = QUANTIZED_BYTES[recipe.quantization] or plain
    weights = block_weights * quantized + model.embedding_parameters * plain
    if recipe.strategy == "zero3":
        weights = weights / settings.workers + _gathered_bytes(settings, weights)
    shards = 1 if recipe.strategy == "ddp" else settings.workers
    # float32: the weights themselves; gradient and two moments, which ZeRO shards.
    adapters = lora_weights(model, recipe.rank, recipe.modules(model)) * (4 + 12 / shards)
    if shards > 1:
        adapters += BUCKET_ELEMENTS * 4
    tokens = settings.tokens
    block = _block_bytes(settings)
    kept = model.hidden_size * plain * model.layers + block
    activations = tokens * (kept if recipe.gradient_checkpointing else block * model.layers)
    # As computed; a chunk of them in float32, with its exponentials.
    logits = model.vocab_size * (tokens * plain + min(tokens, LOSS_CHUNK) * 8)
    # Without gradients one block's values exist at a time. Answers keep keys and values too, and
    # the logits of one token for each question.
    answers = tokens * model.kv_bytes_per_token(plain) + QUESTIONS * model.vocab_size * (plain + 8)
    evaluation = tokens * block + max(logits, answers)
    return Need(weights, adapters, activations, logits, evaluation)


def _gathered_bytes(settings: Settings, weights: float) -> float:
    """Return the most bytes of weights that ZeRO-3 has gathered from all workers at a time.

    DeepSpeed 0.19 (`runtime/zero/partitioned_param_coordinator.py`) fetches ahead while fewer than
    `stage3_max_live_parameters` are gathered, whose last matrix may exceed that, and keeps what is
    used again within `stage3_max_reuse_distance`. The largest matrix is the embedding. Quantized
    weights are stored as elements of the compute dtype (`bnb_4bit_quant_storage`).
    """
    if settings.workers == 1:
        return 0.0
    largest = settings.model.vocab_size * settings.model.hidden_size
    return min(weights, (LIVE_ELEMENTS + largest) * DTYPE_BYTES[settings.compute])


def lora_weights(model: ModelSpec, rank: int, targets: tuple[str, ...]) -> int:
    """Return how many weights LoRA adds: rank x (inputs + outputs) of each matrix."""
    sizes = _matrix_sizes(model, targets)
    return model.layers * rank * sum(inputs + outputs for inputs, outputs in sizes)


def choose(settings: Settings, available: int) -> Settings:
    """Fill in the fields that the recipe leaves open, so that it fits into a worker's memory.

    These change only the time: the tokens of a forward pass, unless `micro_batch_size` is given,
    and `gradient_checkpointing`. As many tokens as fit are taken, but at least one full row; if
    that does not fit, the same is tried with activations recomputed. If nothing fits, the last try
    is returned.

    Args:
        settings: a recipe and where it runs.
        available: memory of one worker, in bytes.
    """
    recipe = settings.recipe
    recomputed = [recipe.gradient_checkpointing]
    if recipe.gradient_checkpointing is None:
        recomputed = [False, True]
    for each in recomputed:
        chosen = settings.changed(gradient_checkpointing=each)
        if recipe.micro_batch_size is None:
            chosen = replace(chosen, pass_tokens=_tokens_that_fit(chosen, available))
        if finetune_memory(chosen).total <= available:
            break
    return chosen


def _tokens_that_fit(settings: Settings, available: int) -> int:
    """Return the most tokens of a forward pass that fit, or those of one full row."""
    least, most = settings.width, settings.tokens
    while least < most:
        middle = (least + most + 1) // 2
        if finetune_memory(replace(settings, pass_tokens=middle)).total <= available:
            least = middle
        else:
            most = middle - 1
    return least


def settings_that_fit(settings: Settings, available: int) -> Settings | None:
    """Return the settings nearest to these that fit, or None.

    Cheapest first: fewer rows at once, recomputed activations and sharded weights cost only time;
    quantization and shorter sequences change what is learnt.

    Args:
        settings: a recipe and where it runs.
        available: memory of one worker, in bytes.
    """
    for candidate in _ever_smaller(_stated(settings)):
        if finetune_memory(candidate).total <= available:
            return candidate
    return None


def advice(settings: Settings, available: int) -> str:
    """Return what to change so that it fits, as fields of the recipe."""
    has, name = f"{available / GIB:.1f} GiB", settings.model.name
    fitting = settings_that_fit(settings, available)
    if fitting is None:
        return f"no settings make {name} fit into {has}; take a profile with more memory"
    given = dict(_stated(settings).recipe)
    changes = [
        f"finetune.{name}: {str(value).lower()}"
        for name in SAVING_FIELDS
        if (value := getattr(fitting.recipe, name)) != given[name]
    ]
    if not changes:
        return f"the estimate fits into {has}; is something else using the memory?"
    needed = finetune_memory(fitting).total / GIB
    return f"this would fit ({needed:.1f} of {has}): {', '.join(changes)}"


@contextmanager
def naming_out_of_memory(doing: Callable[[], str], advise: Callable[[], str]) -> Iterator[None]:
    """Turn the error that PyTorch raises when memory runs out into a StageError.

    Args:
        doing: returns what was being done.
        advise: returns what would fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        raise StageError(f"fine-tuning: out of memory {doing()}; {advise()}") from None


def ran_out_of_memory(error: Exception) -> bool:
    """Return whether PyTorch raised an error because memory ran out."""
    import torch

    # On a CPU PyTorch raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )


def _stated(settings: Settings) -> Settings:
    """Return the settings with the values that their open fields have before anything is saved."""
    return replace(settings, pass_tokens=None).changed(
        micro_batch_size=settings.tokens // settings.width,
        gradient_checkpointing=bool(settings.recipe.gradient_checkpointing),
        max_seq_length=settings.width,
    )


def _ever_smaller(settings: Settings) -> Iterator[Settings]:
    yield settings
    while settings.rows > 1:
        settings = settings.changed(micro_batch_size=settings.rows // 2)
        yield settings
    if not settings.recipe.gradient_checkpointing:
        settings = settings.changed(gradient_checkpointing=True)
        yield settings
    sharded = settings.changed(strategy="zero3")
    # A small model is gathered completely, on top of its shards.
    if finetune_memory(sharded).total < finetune_memory(settings).total:
        settings = sharded
        yield settings
    if settings.recipe.quantization != "nf4":
        settings = settings.changed(quantization="nf4")
        yield settings
    while settings.width >= 2 * SHORTEST_SUGGESTED:
        settings = settings.changed(max_seq_length=settings.width // 2)
        yield settings


def _block_bytes(settings: Settings) -> float:
    """Return what one block keeps of a token, in bytes.

    Two norms, each its input twice and its output; queries, keys, values and output of the
    attention; gate, its activation, what that is multiplied with and the product. Beside these,
    with dropout, the input of each LoRA matrix once more and the mask.
    """
    model, recipe, plain = settings.model, settings.recipe, DTYPE_BYTES[settings.compute]
    key = model.kv_heads * model.head_dim
    block = 6 * model.hidden_size + 2 * (_query_size(model) + key) + 4 * _mlp_size(model)
    inputs = sum(size for size, _ in _matrix_sizes(model, recipe.modules(model)))
    return block * plain + inputs * (plain + 1) * (recipe.dropout > 0)


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
