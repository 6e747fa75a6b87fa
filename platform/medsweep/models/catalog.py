"""The models: the paper's five, SmolLM2 135M for machines without a GPU, and five stand-ins.

Sizes are those of each repository's `config.json`. Parameters were counted on models that were
built from these sizes without weights (on torch's meta device).
"""

from __future__ import annotations

from dataclasses import replace

from medsweep.models.spec import ModelSpec
from medsweep.table import NamedTable

# The cells that the paper's table 3 ticks: (model, hardware profile); none of Llama 2 or Mistral.
PAPER_CELLS: tuple[tuple[str, str], ...] = (
    ("distilgpt2", "1xv100-1cpu"),
    ("distilgpt2", "1xv100-2cpu"),
    ("gemma-1.1-7b", "1xv100-2cpu"),
    ("gemma-1.1-7b", "2xv100-4cpu"),
    ("llama-3-8b", "1xa100-1cpu"),
    ("gemma-1.1-7b", "1xa100-2cpu"),
    ("llama-3-8b", "1xa100-2cpu"),
    ("llama-3-8b", "2xa100-4cpu"),
    ("distilgpt2", "1xrtx8000-1cpu"),
    ("distilgpt2", "1xrtx8000-2cpu"),
    ("distilgpt2", "2xrtx8000-4cpu"),
    ("gemma-1.1-7b", "2xrtx8000-4cpu"),
)

STAND_IN_LAYERS = 2
STAND_IN_HIDDEN = 64
STAND_IN_HEADS = 4
STAND_IN_GROUPED_KV_HEADS = 2
STAND_IN_VOCAB = 1024
STAND_IN_CONTEXT = 512

# Input and output embedding tied, vocabulary full.
_STAND_IN_PARAMETERS = {
    "distilgpt2": 198_400,
    "gemma-1.1-7b": 147_776,
    "llama-3-8b": 139_584,
    "llama-2-7b": 147_776,
    "mistral-7b": 139_584,
}

LLAMA_LIKE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def stand_in(spec: ModelSpec) -> ModelSpec:
    """Return the tiny model of the same architecture, template, targets and stop tokens.

    Args:
        spec: one of the paper's five.
    """
    grouped = spec.kv_heads * spec.head_dim < spec.hidden_size
    return replace(
        spec,
        name=f"standin-{spec.name}",
        hub_id=None,
        revision=None,
        gated=False,
        parameters=_STAND_IN_PARAMETERS[spec.name],
        layers=STAND_IN_LAYERS,
        hidden_size=STAND_IN_HIDDEN,
        kv_heads=STAND_IN_GROUPED_KV_HEADS if grouped else STAND_IN_HEADS,
        head_dim=STAND_IN_HIDDEN // STAND_IN_HEADS,
        vocab_size=STAND_IN_VOCAB,
        context_length=STAND_IN_CONTEXT,
        licence="Apache-2.0",
        source="standin",
        stands_in_for=spec.name,
        tied_embeddings=True,
    )


_PAPER_MODELS = (
    ModelSpec(
        name="distilgpt2",
        hub_id="distilbert/distilgpt2",
        revision="2290a62682d06624634c1f46a6ad5be0f47f38aa",
        gated=False,
        parameters=81_912_576,
        layers=6,
        hidden_size=768,
        kv_heads=12,
        head_dim=64,
        vocab_size=50_257,
        context_length=1024,
        template="alpaca",
        lora_targets=("c_attn", "c_proj", "c_fc"),
        stop_tokens=("<|endoftext|>",),
        licence="Apache-2.0",
        source="hub",
        matrices_per_layer=4,
        tied_embeddings=True,
    ),
    ModelSpec(
        name="gemma-1.1-7b",
        hub_id="google/gemma-1.1-7b-it",
        revision="065a528791af6f57f013e8e42b7276992b45ef71",
        gated=True,
        parameters=8_537_680_896,
        layers=28,
        hidden_size=3072,
        kv_heads=16,
        head_dim=256,
        vocab_size=256_000,
        context_length=8192,
        template="gemma",
        lora_targets=LLAMA_LIKE,
        stop_tokens=("<eos>", "<end_of_turn>"),
        licence="gemma",
        source="hub",
        float16_overflows=True,
        tied_embeddings=True,
    ),
    ModelSpec(
        name="llama-3-8b",
        hub_id="meta-llama/Meta-Llama-3-8B-Instruct",
        revision="5f0b02c75b57c5855da9ae460ce51323ea669d8a",
        gated=True,
        parameters=8_030_261_248,
        layers=32,
        hidden_size=4096,
        kv_heads=8,
        head_dim=128,
        vocab_size=128_256,
        context_length=8192,
        template="llama-3",
        lora_targets=LLAMA_LIKE,
        stop_tokens=("<|end_of_text|>", "<|eot_id|>"),
        licence="llama3",
        source="hub",
    ),
    ModelSpec(
        name="llama-2-7b",
        hub_id="meta-llama/Llama-2-7b-chat-hf",
        revision="f5db02db724555f92da89c216ac04704f23d4590",
        gated=True,
        parameters=6_738_415_616,
        layers=32,
        hidden_size=4096,
        kv_heads=32,
        head_dim=128,
        vocab_size=32_000,
        context_length=4096,
        template="llama-2",
        lora_targets=LLAMA_LIKE,
        stop_tokens=("</s>",),
        licence="llama2",
        source="hub",
    ),
    ModelSpec(
        name="mistral-7b",
        hub_id="mistralai/Mistral-7B-Instruct-v0.3",
        revision="e0bc86c23ce5aae1db576c8cca6f06f1f73af2db",
        gated=True,
        parameters=7_248_023_552,
        layers=32,
        hidden_size=4096,
        kv_heads=8,
        head_dim=128,
        vocab_size=32_768,
        context_length=32_768,
        template="mistral",
        lora_targets=LLAMA_LIKE,
        stop_tokens=("</s>",),
        licence="Apache-2.0",
        source="hub",
    ),
)

_SMOLLM2 = ModelSpec(
    name="smollm2-135m",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    revision="7e27bd9f95328f0f3b08261d1252705110c806f8",
    gated=False,
    parameters=134_515_008,
    layers=30,
    hidden_size=576,
    kv_heads=3,
    head_dim=64,
    vocab_size=49_152,
    context_length=8192,
    template="chatml",
    lora_targets=LLAMA_LIKE,
    stop_tokens=("<|im_end|>", "<|endoftext|>"),
    licence="Apache-2.0",
    source="hub",
    tied_embeddings=True,
)

MODELS = NamedTable(
    "model", (*_PAPER_MODELS, _SMOLLM2, *(stand_in(spec) for spec in _PAPER_MODELS))
)
PAPER_MODELS = tuple(spec.name for spec in _PAPER_MODELS)
