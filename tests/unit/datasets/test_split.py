import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from medsweep.datasets.leakage import normalise_question
from medsweep.datasets.load import load_sources
from medsweep.datasets.spec import DatasetSpec, Pair
from medsweep.datasets.split import (
    interleave,
    load_split,
    split_pairs,
)
from medsweep.errors import DatasetError

SHARED = Path(os.environ.get("MEDSWEEP_SHARED", Path(__file__).parents[4] / "shared"))
MEDQUAD = SHARED / "data" / "medquad.jsonl.gz"


def pairs(seed: int, count: int = 80) -> list[Pair]:
    """Some questions are asked up to four times, in other capitals and punctuation."""
    chosen = random.Random(seed)
    made = []
    for number in range(count):
        question = f"What is condition {chosen.randrange(count // 2)}?"
        if chosen.random() < 0.5:
            question = question.upper().replace("?", " ??")
        made.append(Pair(f"id{number}", question, f"Answer {number}."))
    return made


def questions(side: list[Pair] | tuple[Pair, ...]) -> set[str]:
    return {normalise_question(pair.question) for pair in side}


@pytest.mark.parametrize("seed", range(100))
def test_no_question_stands_on_both_sides(seed: int) -> None:
    order = pairs(seed)
    chosen = random.Random(seed)
    held_out = chosen.randrange(1, 15)
    total = chosen.randrange(20, 80)
    train, evaluation = split_pairs(order, held_out)
    train = train[: total - held_out]
    assert questions(train) & questions(evaluation) == set()
    assert len(evaluation) == len(questions(evaluation)) == held_out
    free = [
        pair for pair in order if normalise_question(pair.question) not in questions(evaluation)
    ]
    assert train == free[: total - held_out]


def test_the_sizes_are_exact_where_there_are_enough_pairs() -> None:
    # 30 pairs whose first question has three answers: one is the reference, two are in no side.
    order = [Pair(f"id{n}", f"Q {0 if n in (0, 5, 6) else n}?", "A") for n in range(30)]
    train, evaluation = split_pairs(order, 4)
    assert [pair.question_id for pair in evaluation] == ["id0", "id1", "id2", "id3"]
    assert [pair.question_id for pair in train[:16]] == [f"id{n}" for n in (4, *range(7, 22))]


def test_the_paper_s_sizes() -> None:
    split = load_split(DatasetSpec(sample=400, eval_fraction=0.05), 1)
    assert (len(split.train), len(split.evaluation)) == (380, 20)
    # The same share of the paper's 2,000.
    assert round(2000 * DatasetSpec(sample=2000).eval_fraction) == 100


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.2, 0.5)])
def test_every_beginning_of_a_mixture_has_its_shares(weights: tuple[float, float]) -> None:
    parts = [[Pair(f"{name}{n}", "Q", "A") for n in range(60)] for name in "ab"]
    order = interleave(parts, weights)
    for length in range(1, len(order) + 1):
        of_a = sum(pair.question_id.startswith("a") for pair in order[:length])
        assert abs(of_a - length * weights[0] / sum(weights)) <= 1
    # It ends where one part is used up, not after it.
    assert 60 in {sum(pair.question_id.startswith(name) for pair in order) for name in "ab"}


def write(path: Path, name: str, count: int) -> dict[str, Any]:
    lines = [f"What is {name} {n}?,It is {n}." for n in range(count)]
    path.write_text("\n".join(["question,answer", *lines]))
    return {"name": "local", "path": str(path)}


def test_a_mixture_holds_its_weights_on_both_sides_and_says_so(tmp_path: Path) -> None:
    mix = [
        {**write(tmp_path / "a.csv", "alpha", 300), "weight": 3.0},
        {**write(tmp_path / "b.csv", "beta", 300), "weight": 1.0},
    ]
    spec = DatasetSpec.model_validate({"mix": mix, "sample": 200, "eval_fraction": 0.1})
    split = load_split(spec, 5)
    assert sum("alpha" in pair.question for pair in split.train) == 135
    assert sum("alpha" in pair.question for pair in split.evaluation) == 15
    assert (len(split.train), len(split.evaluation)) == (180, 20)
    assert [(source["from"], source["weight"]) for source in split.sources] == [
        ("a.csv", 3.0),
        ("b.csv", 1.0),
    ]
    assert split.summary == "local: 300 pairs of 300 rows; local: 300 pairs of 300 rows"


def test_a_source_that_is_too_small_for_its_weight_is_named(tmp_path: Path) -> None:
    mix = [write(tmp_path / "a.csv", "alpha", 300), write(tmp_path / "b.csv", "beta", 40)]
    with pytest.raises(DatasetError, match=r"b\.csv has 40 usable pairs.* enough for 8[01] in all"):
        load_split(DatasetSpec.model_validate({"mix": mix, "sample": 200}), 5)


def test_the_seed_decides() -> None:
    spec = DatasetSpec(sample=100, eval_fraction=0.1)
    one, same, other = load_split(spec, 1), load_split(spec, 1), load_split(spec, 2)
    assert one == same
    assert questions(one.evaluation) != questions(other.evaluation)
    assert one.sha256 != other.sha256
    assert one.summary == load_sources(spec)[0].summary()


def test_the_order_of_the_file_does_not_decide(tmp_path: Path) -> None:
    lines = [f"What is {n}?,It is {n}." for n in range(60)]
    found = []
    for name, some in (("a.csv", lines), ("b.csv", lines[::-1]), ("c.csv", [*lines, "New?,Yes."])):
        (tmp_path / name).write_text("\n".join(["question,answer", *some]))
        spec = DatasetSpec(name="local", path=str(tmp_path / name), eval_fraction=0.2)
        found.append(load_split(spec, 3))
    assert found[0].sha256 == found[1].sha256
    # Another pair moves one question at most.
    assert len(questions(found[0].evaluation) ^ questions(found[2].evaluation)) <= 2


def test_normalise_question() -> None:
    assert normalise_question("  What IS (are)  X-linked\tdisease ? ?") == (
        "what is are x linked disease"
    )


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
@pytest.mark.slow
def test_real_medquad() -> None:
    spec = DatasetSpec(name="medquad", path=str(MEDQUAD), sample=2000)
    split = load_split(spec, seed=0)
    assert (len(split.train), len(split.evaluation)) == (1900, 100)
    assert questions(split.train) & questions(split.evaluation) == set()
    assert not any("??" in pair.question for pair in split.train)
    assert not any("number of patients (when" in pair.answer for pair in split.train)
    [source] = split.sources
    assert source["rows"] == 14_739
    # Counted by hand in the file: 289 doubled question marks, 1,987 tables of frequencies.
    assert source["dropped"]["frequency-tables"] + source["mended"]["frequency-tables"] == 1987
    assert source["pairs"] + sum(source["dropped"].values()) == source["rows"]
    assert source["mended"]["question-marks"] == 289


def test_a_group_stays_on_one_side() -> None:
    order = [Pair(f"id{n}", f"Question {n}?", f"Answer {n}.", group=f"g{n % 7}") for n in range(70)]
    train, evaluation = split_pairs(order, 15)
    held = {pair.group for pair in evaluation}
    assert len(evaluation) == 15
    assert held == {"g0", "g1"}, "two groups of ten have the fifteen questions"
    assert {pair.group for pair in train} == {f"g{n}" for n in range(2, 7)}
    assert len(train) == 50, "the five that were left over are on neither side"


def test_a_sweep_splits_by_a_column_of_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"question": f"Q {n}?", "answer": f"The answer is {n}.", "focus": f"disease {n // 5}"}
        for n in range(100)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    spec = DatasetSpec(name="local", path=str(file), split_by="focus", eval_fraction=0.2)
    split = load_split(spec, 1)
    learnt, asked = ({pair.group for pair in side} for side in (split.train, split.evaluation))
    assert (len(split.train), len(split.evaluation), len(asked)) == (80, 20, 4)
    assert not learnt & asked
    with pytest.raises(DatasetError, match=r"no row has a column 'focsu'.*did you mean 'focus'"):
        load_split(spec.model_copy(update={"split_by": "focsu"}), 1)


def test_leaks_can_be_taken_out_of_the_training_side(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    # Each answer stands under two questions.
    rows = [
        {
            "question": f"{what} number {n}?",
            "answer": " ".join(f"word{n}x{k}" for k in range(20)),
        }
        for n in range(50)
        for what in ("Causes of", "Signs of")
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    spec = DatasetSpec(name="local", path=str(file), eval_fraction=0.1)
    kept = load_split(spec, 1)
    asked = {pair.answer for pair in kept.evaluation}
    both = len(kept.evaluation) - len(asked)
    assert len(kept.leaks) == 10 - 2 * both, "but those whose two questions are both asked"
    excluded = load_split(spec.model_copy(update={"leaks": "exclude"}), 1)
    assert excluded.leaks == []
    assert excluded.evaluation == kept.evaluation, "the same questions are asked"
    assert len(excluded.train) == len(kept.train) - len(kept.leaks)
    assert excluded.sha256 != kept.sha256


def test_questions_carry_what_quality_is_broken_down_by(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            "question": f"What is {n}?",
            "answer": f"It is {n}.",
            "question_type": "information",
            "document_source": "GARD",
            "department": n % 2,
            "ward": "",
        }
        for n in range(10)
    ]
    file.write_text("\n".join(json.dumps(each) for each in rows))
    spec = DatasetSpec(
        name="local", path=str(file), breakdown=["department", "ward"], eval_fraction=0.2
    )
    split = load_split(spec, 1)
    labels = {pair.question: dict(pair.labels) for pair in (*split.train, *split.evaluation)}
    common = {"question_type": "information", "source": "GARD"}
    assert labels["What is 3?"] == {**common, "department": "1"}
    assert labels["What is 4?"] == {**common, "department": "0"}
    with pytest.raises(DatasetError, match=r"'department'.*set dataset\.breakdown"):
        load_split(spec.model_copy(update={"breakdown": ["departmnt"]}), 1)
