"""Sample pairs by seed and split them so that no question stands on both sides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.datasets.load import Loaded, load_pairs
from medsweep.datasets.spec import DatasetSpec, Pair
from medsweep.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """The two sides of a dataset.

    Attributes:
        train: pairs to fine-tune on.
        evaluation: pairs to ask and to grade; one pair a question.
        sha256: hash of both sides, in order; the identity of the dataset.
        summary: one line on what was read and dropped.
    """

    train: tuple[Pair, ...]
    evaluation: tuple[Pair, ...]
    sha256: str
    summary: str


def load_split(spec: DatasetSpec, seed: int) -> Split:
    """Read a dataset and split it.

    Args:
        spec: which dataset.
        seed: of the sample and of the split.

    Returns:
        Both sides, disjoint in their normalised questions.

    Raises:
        DatasetError: the dataset cannot be read, or is too small for the split.
    """
    loaded: Loaded = load_pairs(spec)
    pairs = sorted(loaded.pairs, key=lambda pair: _rank(pair.question_id, seed))[: spec.sample]
    train, evaluation = split_pairs(pairs, spec.eval_fraction, seed)
    if not train or not evaluation:
        raise DatasetError(
            f"dataset {spec.name}: {len(pairs)} pairs are too few to hold out a share of "
            f"{spec.eval_fraction}; raise dataset.eval_fraction or dataset.sample"
        )
    digest = hashlib.sha256()
    for side, members in (("train", train), ("eval", evaluation)):
        for pair in members:
            digest.update(f"{side}\0{pair.question}\0{pair.answer}\0".encode())
    return Split(tuple(train), tuple(evaluation), digest.hexdigest(), loaded.summary())


def split_pairs(
    pairs: Sequence[Pair], eval_fraction: float, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Return (train, evaluation), split by normalised question.

    All answers to a held-out question leave the training side; the first of them is the reference,
    so that each evaluation question is asked once.

    Args:
        pairs: the whole dataset.
        eval_fraction: share of `pairs` to hold out, between 0 and 1.
        seed: which questions are held out.
    """
    by_question: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_question.setdefault(normalise_question(pair.question), []).append(pair)
    wanted = round(len(pairs) * eval_fraction)
    held_out = set(sorted(by_question, key=lambda question: _rank(question, seed))[:wanted])
    train = [pair for pair in pairs if normalise_question(pair.question) not in held_out]
    evaluation = [group[0] for question, group in by_question.items() if question in held_out]
    return train, evaluation


def normalise_question(question: str) -> str:
    """Return a question in lower case without punctuation and with single spaces."""
    return " ".join(re.sub(r"[^\w\s]", " ", question.lower()).split())


def _rank(text: str, seed: int) -> str:
    """Return a hash to order by: unlike a shuffle, stable under changes elsewhere in the data."""
    return hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest()
