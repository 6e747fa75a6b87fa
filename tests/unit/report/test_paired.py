"""The table of the base model against the fine-tuned one, paired over questions."""

from typing import Any

import pytest

from medsweep.metrics.resampling import paired_difference
from medsweep.report.table import make_table
from medsweep.report.tables.paired import SEED, PairedRow, base_against_tuned
from medsweep.results.schema import QUALITIES

Rows = list[dict[str, Any]]


def test_base_against_tuned_is_paired_over_questions(
    rows: Rows, responses: dict[str, Rows], small: Any
) -> None:
    table = base_against_tuned(rows, responses)
    assert table[0].figure == "token_f1"  # the headline figure is read first
    assert {row.model for row in table} == {small.llama}
    assert sorted(row.figure for row in table) == sorted(QUALITIES)
    row = next(row for row in table if row.figure == "token_f1")
    # The two answers to a question lie 0.05 above and below.
    tuned = [((score + 0.05) + (score - 0.05)) / 2 for score in small.tuned_f1]
    assert row.difference == paired_difference(small.base_f1, tuned, seed=SEED)
    assert row.base == pytest.approx(1.3 / 6)
    assert row.tuned == pytest.approx(2.1 / 6)
    assert (row.difference.changed, row.difference.pairs) == (5, 6)
    # Of 32 patterns of signs two are as far from 0, and four figures are tested.
    assert row.difference.p_value == 2 / 32
    assert row.verdict == "no clear difference"
    same = next(row for row in table if row.figure == "bleu")
    assert (same.difference.mean, same.difference.changed) == (0, 0)
    assert same.verdict == "no clear difference"


def test_verified_truncated_and_refused_answers_are_paired_too(
    rows: Rows, responses: dict[str, Rows], small: Any
) -> None:
    for answer in responses[small.llama_key]:
        number = int(answer["question_id"].removeprefix("q"))
        tuned = answer["variant"] == "adapter"
        # Only two of six references have a quantity.
        answer |= {"verified": float(tuned) if number < 2 else None, "truncated": float(tuned)}
    table = {row.figure: row for row in base_against_tuned(rows, responses)}
    assert list(table)[len(QUALITIES) :] == ["verified", "truncated"]
    assert (table["verified"].difference.pairs, table["verified"].verdict) == (
        2,
        "too few questions",
    )
    truncated = table["truncated"]
    assert (truncated.base, truncated.tuned, truncated.difference.changed) == (0, 1, 6)
    assert truncated.difference.p_value == 2 / 64
    shown = make_table(PairedRow, list(table.values()))
    assert [row[1].text for row in shown.rows][-2:] == ["Verified by rules", "Truncated answers"]


def test_load_points_that_only_one_variant_was_asked_at_do_not_count(
    rows: Rows, responses: dict[str, Rows], small: Any
) -> None:
    before = base_against_tuned(rows, responses)
    answers = responses[small.llama_key]
    for answer in [dict(each) for each in answers if each["variant"] == "adapter"]:
        answers.append(answer | {"load_point": "c4", "token_f1": 1.0})
    assert base_against_tuned(rows, responses) == before


def test_a_lower_figure_is_called_lower(rows: Rows, responses: dict[str, Rows], small: Any) -> None:
    answers = responses[small.llama_key]
    answers += [
        {**answer, "question_id": f"{answer['question_id']}-{copy}"}
        for copy in range(3)
        for answer in list(answers)
    ]
    for answer in answers:
        if answer["variant"] == "adapter":
            answer["rouge_l"] = 0.1
    table = base_against_tuned(rows, responses)
    assert next(row.verdict for row in table if row.figure == "rouge_l") == "lower"


def test_bases_are_not_corrected_together(rows: Rows, responses: dict[str, Rows]) -> None:
    table = base_against_tuned(rows, responses)
    other = [{**row, "basis": "observed", "key": f"{row['key']}-o"} for row in rows]
    both = {**responses, **{f"{key}-o": answers for key, answers in responses.items()}}
    together = base_against_tuned([*rows, *other], both)
    emulated = [row.p_adjusted for row in together if row.basis == "emulated"]
    assert emulated == [row.p_adjusted for row in table]
