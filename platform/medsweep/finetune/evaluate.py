"""Ask a model the held-out questions in batches, and grade what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.finetune.data import Example, collate, conversation
from medsweep.finetune.loss import answer_nats
from medsweep.finetune.team import ALONE, Team
from medsweep.metrics.quality import QualitySummary
from medsweep.metrics.tally import AnswerTally
from medsweep.models.templates import Template


def answer_questions(
    model: Any,
    tokenizer: Any,
    template: Template,
    questions: Sequence[str],
    *,
    stop_ids: Sequence[int],
    max_tokens: int,
    batch_size: int = 32,
    team: Team = ALONE,
) -> list[str]:
    """Return the model's greedy answers, in the order of the questions.

    Args:
        model: a causal language model of transformers, with or without adapters.
        tokenizer: of the base model.
        template: writes the prompts.
        questions: the questions.
        stop_ids: tokens that end an answer.
        max_tokens: longest answer.
        batch_size: questions per forward pass.
        team: the workers, which share the questions; each returns all answers.
    """
    import torch

    answers: list[str] = []
    prompts = [template.render(conversation(question)) for question in team.share(questions)]
    for start in range(0, len(prompts), batch_size):
        inputs = tokenizer(
            prompts[start : start + batch_size],
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(team.device)
        with torch.no_grad():
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
    return team.gather([answer.strip() for answer in answers], len(questions))


def answer_loss(
    model: Any,
    examples: Sequence[Example],
    pad_id: int,
    batch_size: int = 16,
    team: Team = ALONE,
) -> float:
    """Return the mean negative log-likelihood per answer token, in nats.

    Args:
        model: a causal language model of transformers.
        examples: tokenised pairs.
        pad_id: padding token.
        batch_size: sequences per forward pass.
        team: the workers, which share the batches; each returns the mean of all.
    """
    import torch

    nats = 0.0
    by_length = sorted(examples, key=lambda example: len(example.input_ids))  # for less padding
    starts = range(0, len(by_length), batch_size)
    groups = [by_length[start : start + batch_size] for start in starts]
    # Every worker makes the same number of passes; a repeated batch is not counted.
    for turn, group in enumerate(team.share(groups)):
        counts = team.rank + turn * team.size < len(groups)
        batch = collate([(example,) for example in group], pad_id, learn=counts)
        placed = {name: tensor.to(team.device) for name, tensor in batch.items()}
        with torch.no_grad():
            nats += float(answer_nats(model, placed))
    [total] = team.total(nats)
    return total / max(1, sum(example.answer_tokens for example in examples))


def grade(pairs: Sequence[Pair], answers: Sequence[str], seed: int) -> dict[str, QualitySummary]:
    """Return each quality figure of the answers, with its interval and the corpus BLEU.

    Args:
        pairs: the questions with their references.
        answers: one answer per pair.
        seed: of the bootstrap.
    """
    tally = AnswerTally()
    for pair, answer in zip(pairs, answers, strict=True):
        tally.add(answer, pair.answer, pair.question_id)
    corpus = tally.corpus_bleu
    bleu = {} if corpus is None else {"corpus_bleu": QualitySummary(corpus, None, None, None)}
    return {**tally.figures(seed), **bleu}
