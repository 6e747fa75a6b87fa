"""Sample pairs by seed, mix sources by weight, and split so that no question is on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medsweep.datasets.leakage import Leak, leaks, normalise_question, without_leaks
from medsweep.datasets.load import Loaded, load_sources
from medsweep.datasets.spec import DatasetSpec, Pair
from medsweep.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """The two sides of a dataset.

    Attributes:
        train: pairs to fine-tune on.
        evaluation: pairs to ask and to grade; one pair per question.
        sha256: hash of both sides, in order; the identity of the dataset.
        summary: one line that says what was read and dropped.
        sources: entry of each source in the provenance: counts by rule, revision, licence.
    """

    train: tuple[Pair, ...]
    evaluation: tuple[Pair, ...]
    sha256: str
    summary: str
    sources: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def leaks(self) -> list[Leak]:
        """The asked questions whose answers are learnt."""
        return leaks(self.train, self.evaluation)


def load_split(spec: DatasetSpec, seed: int) -> Split:
    """Read a dataset and split it.

    Args:
        spec: the dataset.
        seed: of the sample and of the split.

    Returns:
        Both sides, disjoint in their normalised questions.

    Raises:
        DatasetError: the dataset cannot be read, or is too small for the mixture or the split.
    """
    loaded = load_sources(spec)
    order = interleave(
        [sorted(one.pairs, key=lambda pair: _rank(pair.question_id, seed)) for one in loaded],
        [one.source.weight for one in loaded],
    )
    if spec.mix is not None and spec.sample is not None and len(order) < spec.sample:
        short = min(loaded, key=lambda one: len(one.pairs) / one.source.weight)
        raise DatasetError(
            f"dataset.mix: {short.source.where} has {len(short.pairs)} usable pairs, by these "
            f"weights enough for {len(order)} in all; lower dataset.sample or its weight"
        )
    total = min(spec.sample or len(order), len(order))
    held_out = round(total * spec.eval_fraction)
    train, evaluation = split_pairs(order, held_out)
    if spec.leaks == "exclude":
        train = without_leaks(train, evaluation)
    train = train[: total - held_out]
    if not train or not evaluation:
        raise DatasetError(
            f"dataset {spec.name}: {total} pairs are too few to hold out a share of "
            f"{spec.eval_fraction}; raise dataset.eval_fraction or dataset.sample"
        )
    digest = hashlib.sha256()
    for side, members in (("train", train), ("eval", evaluation)):
        for pair in members:
            digest.update(f"{side}\0{pair.question}\0{pair.answer}\0".encode())
    return Split(
        tuple(train),
        tuple(evaluation),
        digest.hexdigest(),
        _summary(loaded),
        tuple(one.record() for one in loaded),
    )


def interleave(parts: Sequence[Sequence[Pair]], weights: Sequence[float]) -> list[Pair]:
    """Merge parts so that each prefix holds them in proportion to their weights, within one pair.

    Args:
        parts: each in its own order; the result ends when one of them is exhausted.
        weights: one per part.
    """
    order: list[Pair] = []
    taken = [0] * len(parts)
    while True:
        turn = min(range(len(parts)), key=lambda part: (taken[part] + 1) / weights[part])
        if taken[turn] == len(parts[turn]):
            return order
        order.append(parts[turn][taken[turn]])
        taken[turn] += 1


def split_pairs(order: Sequence[Pair], held_out: int) -> tuple[list[Pair], list[Pair]]:
    """Return (train, evaluation), split by group, or by normalised question without groups.

    Groups are held out as a whole, in the order of their first pairs, until they have enough
    questions. All pairs of these groups, and all answers to a held-out question, leave the training
    side. The first answer is the reference, so that each evaluation question is asked once.

    Args:
        order: the pairs, in order.
        held_out: number of evaluation questions, taken from the start.
    """
    members: dict[str, list[Pair]] = {}
    for pair in order:
        members.setdefault(_group(pair), []).append(pair)
    first: dict[str, Pair] = {}
    groups = set()
    for group, pairs in members.items():
        if len(first) == held_out:
            break
        groups.add(group)
        for pair in pairs:
            if len(first) < held_out:
                first.setdefault(normalise_question(pair.question), pair)
    train = [
        pair
        for pair in order
        if _group(pair) not in groups and normalise_question(pair.question) not in first
    ]
    return train, list(first.values())


def _group(pair: Pair) -> str:
    return normalise_question(pair.question) if pair.group is None else f"\0{pair.group}"


def _summary(loaded: Sequence[Loaded]) -> str:
    if len(loaded) == 1:
        return loaded[0].summary()
    return "; ".join(f"{one.source.name}: {one.summary()}" for one in loaded)


def _rank(text: str, seed: int) -> str:
    """Return a hash to sort by; unlike a shuffle, it is stable when other data change."""
    return hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest()
