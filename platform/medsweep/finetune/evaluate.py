"""Ask a model the held-out questions in batches, and grade what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.finetune.data import Example, batches, conversation
from medsweep.metrics.quality import (
    QualitySummary,
    corpus_bleu,
    score_answer,
    summarise_quality,
)
from medsweep.models.templates import Template


def answer_questions(
    model: Any,
    tokenizer: Any,
    template: Template,
    questions: Sequence[str],
    *,
    stop_ids: Sequence[int],
    max_tokens: int,
    batch_size: int = 16,
) -> list[str]:
    """Return the model's greedy answers, in the order of the questions.

    Args:
        model: a causal language model of transformers, with or without adapters.
        tokenizer: of the base model.
        template: writes the prompts.
        questions: what to ask.
        stop_ids: tokens that end an answer.
        max_tokens: longest answer.
        batch_size: questions a forward pass.
    """
    import torch

    answers: list[str] = []
    prompts = [template.render(conversation(question)) for question in questions]
    for start in range(0, len(prompts), batch_size):
        inputs = tokenizer(
            prompts[start : start + batch_size],
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(model.device)
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=max_tokens,
                eos_token_id=list(stop_ids),
                pad_token_id=tokenizer.pad_token_id,
            )
        answers += tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
    return [answer.strip() for answer in answers]


def answer_loss(
    model: Any, examples: Sequence[Example], pad_id: int, batch_size: int = 16
) -> float:
    """Return the mean negative log-likelihood of an answer token, in nats.

    Args:
        model: a causal language model of transformers.
        examples: tokenised pairs.
        pad_id: token to pad with.
        batch_size: sequences a forward pass.
    """
    import torch

    nats, tokens = 0.0, 0
    with torch.inference_mode():
        for batch in batches(examples, batch_size, pad_id, seed=None):
            labelled = int((batch["labels"][:, 1:] >= 0).sum())
            if not labelled:
                continue  # its mean would be 0 / 0
            loss = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
            nats += float(loss) * labelled
            tokens += labelled
    return nats / max(1, tokens)


def grade(pairs: Sequence[Pair], answers: Sequence[str], seed: int) -> dict[str, QualitySummary]:
    """Return each quality figure of the answers, with its interval and the corpus BLEU.

    Args:
        pairs: the questions with their references.
        answers: one answer a pair.
        seed: of the bootstrap.
    """
    scores = [
        score_answer(answer, pair.answer) for answer, pair in zip(answers, pairs, strict=True)
    ]
    figures = summarise_quality(scores, [pair.question_id for pair in pairs], seed=seed)
    corpus = corpus_bleu(list(answers), [pair.answer for pair in pairs])
    return {**figures, "corpus_bleu": QualitySummary(corpus, None, None, None)}
