"""Stand-ins: one tiny model per architecture, built from a configuration, a seed and texts.

A stand-in runs every code path of its architecture in seconds, without a download. It is trained
briefly as a plain language model, on answers alone: it then knows words but not the task, so that
fine-tuning has a measurable effect. It is never shown as the model that it stands in for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.models.spec import ModelSpec
from medsweep.models.templates import PAPER_INSTRUCTION

RECIPE = {
    "seed": 20260101,
    "steps": 200,
    "batch": 8,
    "tokens": 64,
    "learning_rate": 1e-2,
    "initializer_range": 0.08,  # 0.02 is for wide models; a width of 64 learns slower from it
    "format": 2,
}
"""Everything that the weights depend on besides spec and texts; part of the hash."""


@dataclass(frozen=True)
class Architecture:
    """How to build a small model of one architecture.

    Attributes:
        config_class: name of the configuration class in transformers.
        bos, eos, pad: special tokens of the tokenizer; GPT-2 has a single one for all three.
        extra_tokens: other special tokens that the prompt template uses.
        extra_config: configuration of the architecture besides the sizes.
    """

    config_class: str
    bos: str
    eos: str
    pad: str
    extra_tokens: tuple[str, ...] = ()
    extra_config: tuple[tuple[str, Any], ...] = ()


ARCHITECTURES = {
    "distilgpt2": Architecture("GPT2Config", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"),
    "gemma-1.1-7b": Architecture(
        "GemmaConfig",
        "<bos>",
        "<eos>",
        "<pad>",
        ("<start_of_turn>", "<end_of_turn>"),
        (("hidden_activation", "gelu_pytorch_tanh"),),
    ),
    "llama-3-8b": Architecture(
        "LlamaConfig",
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|finetune_right_pad_id|>",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        (("rope_theta", 500_000.0),),
    ),
    "llama-2-7b": Architecture("LlamaConfig", "<s>", "</s>", "<unk>"),
    "mistral-7b": Architecture("MistralConfig", "<s>", "</s>", "<unk>", ("[INST]", "[/INST]")),
}


def revision(spec: ModelSpec, texts: Sequence[str]) -> str:
    """Return the identity of a stand-in's weights: a hash of spec, recipe and training texts."""
    digest = hashlib.sha256(json.dumps([repr(spec), RECIPE], sort_keys=True).encode())
    for text in texts:
        digest.update(text.encode() + b"\0")
    return f"standin-{digest.hexdigest()[:16]}"


def build(spec: ModelSpec, texts: Sequence[str], folder: Path) -> None:
    """Build and save a stand-in's tokenizer and weights.

    Args:
        spec: the stand-in's entry in the catalogue.
        texts: answers to learn words from; never those of evaluation questions.
        folder: where to save them, in the form that `from_pretrained` reads.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if spec.stands_in_for is None:
        raise ValueError(f"{spec.name} is not a stand-in")
    architecture = ARCHITECTURES[spec.stands_in_for]
    tokenizer = _tokenizer(architecture, spec, texts)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread slows matrices this small
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(RECIPE["seed"]))
        model = AutoModelForCausalLM.from_config(_config(architecture, spec, tokenizer))
        _pretrain(model, tokenizer, texts)
    torch.set_num_threads(threads)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _tokenizer(architecture: Architecture, spec: ModelSpec, texts: Sequence[str]) -> Any:
    """Train a byte-level BPE tokenizer with the architecture's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = dict.fromkeys(
        (architecture.pad, architecture.bos, architecture.eos, *architecture.extra_tokens)
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Every prompt has the instruction, so its words should be tokens.
    tokenizer.train_from_iterator([*texts, *[PAPER_INSTRUCTION] * len(texts)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=architecture.bos,
        eos_token=architecture.eos,
        pad_token=architecture.pad,
        additional_special_tokens=list(architecture.extra_tokens),
        model_max_length=spec.context_length,
    )


def _config(architecture: Architecture, spec: ModelSpec, tokenizer: Any) -> Any:
    import transformers

    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": RECIPE["initializer_range"],
        **dict(architecture.extra_config),
    }
    heads = spec.hidden_size // spec.head_dim
    if architecture.config_class == "GPT2Config":
        sizes = {
            "n_positions": spec.context_length,
            "n_embd": spec.hidden_size,
            "n_layer": spec.layers,
            "n_head": heads,
        }
    else:
        sizes = {
            "max_position_embeddings": spec.context_length,
            "hidden_size": spec.hidden_size,
            "intermediate_size": 2 * spec.hidden_size,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": spec.kv_heads,
            "head_dim": spec.head_dim,
            "tie_word_embeddings": True,
        }
    return getattr(transformers, architecture.config_class)(**common, **sizes)


def _pretrain(model: Any, tokenizer: Any, texts: Sequence[str]) -> None:
    """Train on random pieces of the joined texts: next-token loss, AdamW, linear decay."""
    import torch

    joined = tokenizer.eos_token.join(texts)
    ids = torch.tensor(tokenizer(joined, add_special_tokens=False)["input_ids"])
    steps, batch, tokens = int(RECIPE["steps"]), int(RECIPE["batch"]), int(RECIPE["tokens"])
    tokens = min(tokens, len(ids) - 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(RECIPE["learning_rate"]))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    model.train()
    for _ in range(steps):
        starts = torch.randint(len(ids) - tokens, (batch,))
        window = torch.stack([ids[start : start + tokens] for start in starts.tolist()])
        loss = model(input_ids=window, labels=window).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()
