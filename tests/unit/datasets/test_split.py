import os
from pathlib import Path

import pytest

from medsweep.datasets.load import load_pairs
from medsweep.datasets.spec import DatasetSpec, Pair
from medsweep.datasets.split import load_split, normalise_question, split_pairs
from medsweep.errors import DatasetError

SHARED = Path(os.environ.get("MEDSWEEP_SHARED", Path(__file__).parents[4] / "shared"))
MEDQUAD = SHARED / "data" / "medquad.jsonl.gz"


def pairs(count: int) -> list[Pair]:
    """Every third question is asked again in other capitals and punctuation."""
    asked = [Pair(f"id{n}", f"What is condition {n}?", f"Answer {n}.") for n in range(count)]
    again = [
        Pair(f"id{n}b", f"what is CONDITION {n} ??", f"Another {n}.") for n in range(0, count, 3)
    ]
    return asked + again


def questions(side: list[Pair] | tuple[Pair, ...]) -> set[str]:
    return {normalise_question(pair.question) for pair in side}


@pytest.mark.parametrize("seed", range(20))
def test_no_question_stands_on_both_sides(seed: int) -> None:
    train, evaluation = split_pairs(pairs(60), 0.2, seed)
    assert questions(train) & questions(evaluation) == set()
    assert questions(train) | questions(evaluation) == questions(pairs(60))
    # 80 pairs, a fifth of them held out, each question once.
    assert len(evaluation) == len(questions(evaluation)) == 16


def test_the_seed_decides() -> None:
    assert split_pairs(pairs(60), 0.2, seed=1) == split_pairs(pairs(60), 0.2, seed=1)
    assert questions(split_pairs(pairs(60), 0.2, seed=1)[1]) != questions(
        split_pairs(pairs(60), 0.2, seed=2)[1]
    )


@pytest.mark.parametrize("seed", range(10))
def test_another_pair_moves_one_question_at_most(seed: int) -> None:
    before = questions(split_pairs(pairs(60), 0.1, seed)[1])
    more = [*pairs(60), Pair("new", "What is something else?", "That.")]
    after = questions(split_pairs(more, 0.1, seed)[1])
    assert len(before - after) <= 1
    assert len(after - before) <= 1


def test_the_order_of_the_file_does_not_decide() -> None:
    forwards, backwards = split_pairs(pairs(60), 0.2, 3), split_pairs(pairs(60)[::-1], 0.2, 3)
    assert questions(forwards[1]) == questions(backwards[1])


def test_normalise_question() -> None:
    assert normalise_question("  What IS (are)  X-linked\tdisease ? ?") == (
        "what is are x linked disease"
    )


def test_load_split_is_identified_by_its_hash() -> None:
    spec = DatasetSpec(sample=100, eval_fraction=0.1)
    one, same, other = load_split(spec, 1), load_split(spec, 1), load_split(spec, 2)
    assert one == same
    assert len(one.train) + len(one.evaluation) == 100
    assert len(one.evaluation) == 10
    assert len({one.sha256, other.sha256}) == 2
    assert one.summary == load_pairs(spec).summary()


def test_the_hash_tells_the_sides_apart() -> None:
    small = load_split(DatasetSpec(eval_fraction=0.05), 1)
    large = load_split(DatasetSpec(eval_fraction=0.1), 1)
    assert small.sha256 != large.sha256


def test_too_small_to_split(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("question,answer\nWhy?,So.\nHow?,Thus.\n")
    with pytest.raises(DatasetError, match=r"2 pairs are too few .* share of 0\.05"):
        load_split(DatasetSpec(name="local", path=str(path)), 0)


@pytest.mark.skipif(
    not MEDQUAD.is_file(), reason="MedQuAD is not here: set MEDSWEEP_SHARED to the folder of data/"
)
def test_real_medquad() -> None:
    spec = DatasetSpec(name="medquad", path=str(MEDQUAD))
    loaded = load_pairs(spec)
    assert loaded.rows == 14_739
    assert set(loaded.dropped) <= {"duplicate", "withheld"}
    assert len(loaded.pairs) + sum(loaded.dropped.values()) == loaded.rows
    assert not any(pair.question.endswith("? ?") for pair in loaded.pairs)
    train, evaluation = split_pairs(loaded.pairs, spec.eval_fraction, seed=0)
    assert questions(train) & questions(evaluation) == set()
    assert len(evaluation) == round(len(loaded.pairs) * spec.eval_fraction)
    # Answers to a held-out question that are not its reference are in neither side.
    assert len(loaded.pairs) - len(train) - len(evaluation) > 0
