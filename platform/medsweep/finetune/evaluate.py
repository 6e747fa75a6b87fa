"""Ask a model the held-out questions in batches, and grade what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medsweep.datasets.spec import Pair
from medsweep.finetune.data import Example, collate, place
from medsweep.finetune.loss import answer_nats
from medsweep.finetune.team import ALONE, Team
from medsweep.metrics.bounds import Cut
from medsweep.metrics.faulty_answers import TRUNCATED
from medsweep.metrics.tally import AnswerTally
from medsweep.models.templates import Template, conversation
from medsweep.models.token_batches import token_batches

if TYPE_CHECKING:
    import torch

LOSS_TOKENS = 4096
"""Most tokens in one forward pass of the evaluation loss; more would not make it faster."""

ANSWER_TOKENS = 16384
"""Most tokens of the questions answered at once, with their answers."""

QUESTIONS = 32
"""Most questions answered at once."""


class Answer(NamedTuple):
    """One answer of a model.

    Attributes:
        text: without special tokens.
        finish_reason: `stop`, or `length` where it was cut off.
    """

    text: str
    finish_reason: str


def answer_questions(
    model: Any,
    tokenizer: Any,
    template: Template,
    questions: Sequence[str],
    *,
    stop_ids: Sequence[int],
    max_tokens: int,
    tokens: int = ANSWER_TOKENS,
    team: Team = ALONE,
) -> list[Answer]:
    """Return the model's greedy answers, in the order of the questions.

    Args:
        model: a causal language model of transformers, with or without adapters.
        tokenizer: of the base model.
        template: writes the prompts.
        questions: the questions.
        stop_ids: tokens that end an answer.
        max_tokens: longest answer.
        tokens: most in one batch, answers and padding included; one question is always taken.
        team: the workers, which share the questions; each returns all answers.
    """
    import torch

    answers: list[Answer] = []
    prompts = [template.render(conversation(question)) for question in team.share(questions)]
    ids = tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
    lengths = {prompt: len(own) + max_tokens for prompt, own in zip(prompts, ids, strict=True)}
    for group in token_batches(prompts, lengths.__getitem__, tokens, QUESTIONS):
        inputs = tokenizer(
            group,
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
        generated = output[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(generated, skip_special_tokens=True)
        answers += [
            Answer(text.strip(), TRUNCATED if set(stop_ids).isdisjoint(own) else "stop")
            for text, own in zip(texts, generated.tolist(), strict=True)
        ]
    return team.gather(answers, len(questions))


def answer_loss(
    model: Any,
    examples: Sequence[Example],
    pad_id: int,
    tokens: int = LOSS_TOKENS,
    team: Team = ALONE,
) -> float:
    """Return the mean negative log-likelihood per answer token, in nats.

    Args:
        model: a causal language model of transformers.
        examples: tokenised pairs.
        pad_id: padding token.
        tokens: most in one forward pass, padding included; one sequence is always taken.
        team: the workers, which share the batches; each returns the mean of all.
    """
    import torch

    nats: list[torch.Tensor] = []
    by_length = sorted(examples, key=lambda example: len(example.input_ids))  # for less padding
    groups = list(token_batches(by_length, lambda example: len(example.input_ids), tokens))
    # Every worker makes the same number of passes; a repeated batch is not counted.
    for turn, group in enumerate(team.share(groups)):
        counts = team.rank + turn * team.size < len(groups)
        batch = collate([(example,) for example in group], pad_id, learn=counts)
        with torch.no_grad():
            nats.append(answer_nats(model, place(batch, team.device)))
    [total] = team.total(sum(map(float, nats)))
    return total / max(1, sum(example.answer_tokens for example in examples))


def grade(
    pairs: Sequence[Pair], answers: Sequence[Answer], seed: int, cut: Cut | None = None
) -> dict[str, float | None]:
    """Return the columns of `training.parquet` that tell how good the answers are.

    Args:
        pairs: the questions with their references.
        answers: one answer per pair.
        seed: of the bootstrap.
        cut: cuts a reference at the longest allowed answer; None if that is not known.

    Returns:
        Each figure with its interval, its ceiling, floor and empty answer, corpus BLEU, and the
        shares of truncated answers and of references that are longer than an answer may be.
    """
    tally = AnswerTally(cut)
    for pair, answer in zip(pairs, answers, strict=True):
        tally.add(answer.text, pair.answer, pair.question_id, answer.finish_reason)
    row: dict[str, float | None] = {"corpus_bleu": tally.corpus_bleu}
    for name, summary in tally.figures(seed).items():
        row |= {name: summary.mean, f"{name}_low": summary.low, f"{name}_high": summary.high}
    for bound, means in tally.bounds.means().items():
        row |= {f"{name}_{bound}": value for name, value in means.items()}
    return {
        **row,
        "truncated_share": tally.truncated_share,
        "long_references_share": tally.bounds.too_long_share,
    }
