"""One fine-tune from weights and pairs to an adapter folder, without Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.datasets.split import Split
from medsweep.errors import StageError
from medsweep.finetune.adapter import epoch_row, save_adapter
from medsweep.finetune.data import batches, encode
from medsweep.finetune.evaluate import answer_loss, answer_questions, grade
from medsweep.finetune.loop import EpochStats, train
from medsweep.finetune.lora import add_lora
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import Weights, materialise


@dataclass(frozen=True)
class FineTuneJob:
    """Everything that an adapter depends on.

    Attributes:
        weights: the base model.
        split: what is learnt, and what is asked after each epoch.
        folder: where the adapter shall be.
        rank, alpha, dropout, targets: LoRA, as in `add_lora`.
        epochs, learning_rate, batch_size: as in `train`.
        max_seq_length: tokens; clamped to the model's context.
        max_tokens: longest answer when the model is asked.
        seed: of initial LoRA weights, dropout and order.
        provenance: what else to record beside the adapter.
    """

    weights: Weights
    split: Split
    folder: Path
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    epochs: int
    learning_rate: float
    batch_size: int
    max_seq_length: int
    max_tokens: int
    seed: int
    provenance: Mapping[str, Any]


def finetune(job: FineTuneJob, on_epoch: Callable[[Mapping[str, Any]], None]) -> None:
    """Fine-tune, asking the held-out questions before the first epoch and after each.

    Args:
        job: what to do.
        on_epoch: called with each row of `training.parquet`; the base model's is epoch 0.

    Raises:
        StageError: no module for a LoRA target, no room for an answer, or a loss that is not a
            number.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = job.weights.spec
    base = materialise(job.weights)
    torch.manual_seed(job.seed)
    template = TEMPLATES[spec.template]
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to(device)
    model = add_lora(
        loaded, rank=job.rank, alpha=job.alpha, dropout=job.dropout, targets=job.targets
    )
    length = min(job.max_seq_length, spec.context_length)
    encoded = [encode(pair, template, tokenizer, length) for pair in job.split.train]
    learnt = [example for example in encoded if example.prompt_tokens < len(example.input_ids)]
    if not learnt:
        raise StageError(
            f"finetune.max_seq_length: {length} tokens hold no prompt of {spec.name} with any of "
            "its answer; raise it"
        )
    asked = [encode(pair, template, tokenizer, length) for pair in job.split.evaluation]
    stop_ids = tokenizer.convert_tokens_to_ids(list(spec.stop_tokens))
    rows: list[dict[str, Any]] = []

    def evaluate(stats: EpochStats) -> None:
        answers = answer_questions(
            model,
            tokenizer,
            template,
            [pair.question for pair in job.split.evaluation],
            stop_ids=stop_ids,
            max_tokens=job.max_tokens,
        )
        quality = grade(job.split.evaluation, answers, job.seed)
        loss = answer_loss(model, asked, tokenizer.pad_token_id)
        rows.append(epoch_row(stats, loss, quality))
        on_epoch(rows[-1])

    model.eval()
    evaluate(EpochStats(epoch=0, loss=None, steps=0, tokens=0, seconds=0.0))
    train(
        model,
        lambda epoch: batches(
            learnt, job.batch_size, tokenizer.pad_token_id, seed=job.seed * 1000 + epoch
        ),
        epochs=job.epochs,
        steps=job.epochs * math.ceil(len(learnt) / job.batch_size),
        learning_rate=job.learning_rate,
        on_epoch=evaluate,
    )
    save_adapter(
        job.folder,
        model,
        card={
            "model": spec.name,
            "base": str(base),
            "template": spec.template,
            "stop_tokens": spec.stop_tokens,
        },
        epochs=rows,
        provenance={
            **job.provenance,
            "model": asdict(spec),
            "revision": job.weights.revision,
            "dataset_sha256": job.split.sha256,
            "dataset": job.split.summary,
            "train_pairs": len(job.split.train),
            "evaluation_pairs": len(job.split.evaluation),
            "max_seq_length_used": length,
            "truncated_pairs": sum(len(example.input_ids) == length for example in learnt),
            "pairs_without_room": len(encoded) - len(learnt),
            "recipe": {
                name: getattr(job, name)
                for name in (
                    "rank",
                    "alpha",
                    "dropout",
                    "targets",
                    "epochs",
                    "learning_rate",
                    "batch_size",
                    "max_seq_length",
                    "seed",
                )
            },
        },
    )
