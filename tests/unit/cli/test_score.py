from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from medsweep.cli import main
from tiny_entailment import build_entailment

ROWS = [
    {"id": "a", "prediction": "Rest and drink water.", "reference": "Rest and drink water."},
    {"id": "b", "prediction": "", "reference": "insulin " * 60},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return path


def test_figures_are_printed_as_a_table_and_as_json(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["answers"], found["questions"], found["empty_answers"]) == (2, 2, 1)
    assert found["figures"]["token_f1"]["mean"] == pytest.approx(0.5)
    assert found["figures"]["token_f1"]["max"] == 1.0
    assert found["by_reference_words"][0]["means"]["token_f1"] == 1.0
    assert found["truncated_answers"] is None
    assert main(["score", str(file)]) == 0
    table = capsys.readouterr().out
    for word in ("token_f1", "0.5000", "50-149", "400+", "1 empty", "unknown how many truncated"):
        assert word in table


def test_ceiling_floor_and_empty_answer_stand_beside_the_figures(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"insulin": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    asked = ["score", str(file), "--max-tokens", "20", "--tokenizer", str(tmp_path)]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # One reference fits; of the other 20 of 60 words do: F1 1/2.
    assert found["bounds"]["ceiling"]["token_f1"] == pytest.approx((1 + 0.5) / 2)
    assert found["bounds"]["floor"]["token_f1"] == found["bounds"]["empty"]["token_f1"] == 0
    assert found["long_references_share"] == 0.5
    assert main(asked) == 0
    table = capsys.readouterr().out
    assert "ceiling" in table
    assert "50 % of the references are longer than allowed" in table
    assert main(["score", str(file), "--max-tokens", "20"]) == 2
    assert "belong together" in capsys.readouterr().err


def test_text_without_latin_letters_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "russian.jsonl"
    file.write_text(json.dumps({"prediction": "Аспирин", "reference": "Аспирин"}))
    assert main(["score", str(file), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["figures"]["rouge1"]["mean"] == 0
    assert "ROUGE says nothing about 1 of 1 answers" in err
    assert json.loads(out)["rouge_warning"] in err


def test_the_meter_says_what_each_figure_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "doses.jsonl"
    lines = [f"Fever {place} is treated with {place} mg of Aspirin." for place in range(2, 42)]
    rows = [{"prediction": "x", "reference": line, "question": "What is it?"} for line in lines]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert main(["score", str(file), "--meter", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["meter"]
    doses = {each["figure"]: each for each in found if each["kind"] == "dose x 10"}
    assert (doses["quantity_agreement"]["share"], doses["token_f1"]["share"]) == (1.0, 0.0)
    assert main(["score", str(file), "--meter"]) == 0
    assert "harmless rewrite" in capsys.readouterr().out


def test_bad_lines_are_named_counted_and_change_the_exit_code(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with file.open("a") as more:
        more.write("\n{}" * 12)
    assert main(["score", str(file), "--json"]) == 1
    out, err = capsys.readouterr()
    assert [bad["number"] for bad in json.loads(out)["bad_lines"]] == list(range(3, 15))
    assert f"{file}: line 3 has no field `prediction`" in err
    assert "and 2 more bad lines" in err
    assert main(["score", str(file)]) == 1
    assert "12 bad lines" in capsys.readouterr().out


def test_multiple_choice_has_its_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "choices.jsonl"
    row = {"options": ["yes", "no"], "answer": "no"}
    file.write_text("\n".join(json.dumps({**row, "prediction": each}) for each in ("no", "?")))
    assert main(["score", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 multiple-choice answers: accuracy 0.5000 (0.0126 to 0.9874), 1 name no option",
        "0 bad lines",
    ]


def test_a_dataset_on_the_hub_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medsweep.datasets.catalog import DatasetEntry
    from medsweep.datasets.read import Opened

    class First:
        """Chooses the first option."""

        def __init__(self, folder: Path, *, base_only: bool) -> None:
            assert (folder, base_only) == (Path("some-adapter"), True)

        def choose(self, _: str, __: list[str]) -> tuple[int, float]:
            return 0, 0.9

    def opened(entry: DatasetEntry, revision: str | None, local: str) -> Opened:
        assert (entry.name, local) == ("medmcqa", "`medsweep score FILE`")
        options = {f"op{letter}": letter for letter in "abcd"}
        rows = ({"question": f"{n}?", "cop": n % 4, **options} for n in range(40))
        return Opened(((f"row {n}", row) for n, row in enumerate(rows)), revision or entry.revision)

    monkeypatch.setattr("medsweep.datasets.read.open_hub", opened)
    monkeypatch.setattr("medsweep.finetune.multiple_choice.Chooser", First)
    asked = ["score", "medmcqa", "--adapter", "some-adapter", "--base"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["choices"]["answers"], found["choices"]["accuracy"]) == (40, 0.25)
    dataset = found["dataset"]
    assert (dataset["hub_id"], dataset["split"]) == ("openlifescienceai/medmcqa", "validation")
    assert len(dataset["revision"]) == 40
    assert main([*asked, "--revision", "main", "--questions", "20"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("medmcqa: openlifescienceai/medmcqa at main\n20 multiple-choice")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["medqa"], "medqa: give --adapter DIR"),
        (["medquad"], "medquad: a dataset of questions without answers to grade"),
        (["FILE", "--revision", "main"], "--revision is for a multiple-choice dataset"),
        (["FILE", "--questions", "0"], "--questions 0: must be at least 1"),
    ],
)
def test_options_that_do_not_fit_a_dataset(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["score", *(str(file) if word == "FILE" else word for word in words)]) == 2
    assert says in capsys.readouterr().err


def test_a_group_without_quantities_is_shown_beside_one_with_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"treatment": "Take 5 mg of it twice a day.", "outlook": "It heals by itself."}
    rows = [
        {"id": f"{kind} {n}", "prediction": text, "reference": text, "question_type": kind}
        for kind, text in kinds.items()
        for n in range(8)
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["score", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    [heading] = [line.split() for line in lines if "quantity_agreement" in line and "by" in line]
    shown = {kind: line.split() for line in lines for kind in kinds if kind in line.split()}
    assert heading[:3] == ["by", "group", "questions"]
    assert "-" in shown["outlook"], "no reference of this group has a quantity"
    assert "-" not in shown["treatment"]


def test_quality_is_shown_by_group_and_since_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = "Take 5 mg of it twice a day with water."
    rows = [
        {
            "id": n,
            "reference": reference,
            "prediction": reference if n < 20 else "Nothing helps.",
            "question_type": "treatment" if n < 20 else "outlook",
            "department": "north" if n % 2 else "south",
        }
        for n in range(40)
    ]
    after, before = tmp_path / "after.jsonl", tmp_path / "before.jsonl"
    after.write_text("\n".join(json.dumps(row) for row in rows))
    wrong = reference.replace("5 mg", "50 mg")
    earlier = [row | {"prediction": reference if row["id"] >= 38 else wrong} for row in rows]
    before.write_text("\n".join(json.dumps(row) for row in earlier))
    asked = ["score", str(after), "--by", "department", "--before", str(before)]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    by_group = {
        (each["column"], each["group"]): each
        for each in found["breakdown"]
        if each["figure"] == "token_f1"
    }
    assert set(by_group) == {
        ("question_type", "treatment"),
        ("question_type", "outlook"),
        ("department", "north"),
        ("department", "south"),
    }
    assert by_group["question_type", "outlook"]["p_value"] < 0.05
    assert by_group["question_type", "outlook"]["mean"] == 0
    assert by_group["department", "north"]["p_value"] == 1
    assert found["worst_lines"] == list(range(21, 31))
    # The two that were right before come last: their token F1 falls from 1, the others' from less.
    assert found["since_before"]["token_f1_lower"] == 20
    assert found["since_before"]["token_f1_higher"] == 20
    assert found["since_before"]["worst"][:2] == ["38", "39"]
    assert main(asked) == 0
    table = capsys.readouterr().out
    for part in (
        "outlook",
        "0.00 [0.00 to ",
        "worst answers: lines 21, 22",
        "rose in 20 and fell in 20",
    ):
        assert part in table
    assert main(["score", str(after), "--by", "departmnt"]) == 2
    assert "did you mean 'department'" in capsys.readouterr().err


def test_files_without_a_common_id_cannot_be_compared(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"id": "z", "prediction": "a", "reference": "a"}))
    assert main(["score", str(file), "--before", str(other)]) == 2
    assert "both need `id`" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_claims_are_judged_by_a_model_for_entailment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    rows = [
        {
            "prediction": "Rest helps. Sleep well.",
            "reference": "Rest helps. Do not smoke. Drink water.",
        },
        {"prediction": "Maybe rest.", "reference": "Drink water."},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    asked = ["score", str(file), "--entailment", str(build_entailment(tmp_path / "nli"))]
    assert main([*asked, "--meter", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # By hand, as in tests/unit/metrics/test_claims.py.
    assert found["figures"]["claim_recall"]["mean"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["figures"]["claim_precision"]["mean"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["figures"]["claim_consistency"]["mean"] == pytest.approx((3 / 5 + 1) / 2)
    assert found["claims_by"].startswith("nli@folder-")
    assert "claim_consistency" in {each["figure"] for each in found["meter"]}
    assert main(asked) == 0
    assert (
        "2 of 4 sentences of the references are omitted, 2 of 3 sentences of the answers are "
        "unsupported, 2 of both are contradicted; 0 were too long" in capsys.readouterr().out
    )
    assert main([*asked[:-1], "/no/such/model"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_without_a_model_no_claim_is_judged(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["claims_expected"] is None
    assert "claim_recall" not in found["figures"]
    assert found["claims_by"] == "not judged: no model for entailment was given"
    assert main(["score", str(file)]) == 0
    assert "claims not judged: no model for entailment was given (--entailment)" in (
        capsys.readouterr().out
    )


def test_confidence_of_a_published_file_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ori_pqal.json"
    # 40 of 50 are right; the model says 0.9 to each.
    sure = [math.log(0.9), math.log(0.06), math.log(0.04)]
    rows = {
        str(n): {
            "QUESTION": f"Does drug {n} help?",
            "CONTEXTS": ["It was tried."],
            "final_decision": "yes" if n < 40 else "no",
            "option_logprobs": sure,
        }
        for n in range(50)
    }
    file.write_text(json.dumps(rows, indent=1))
    assert main(["score", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["choices"]
    assert (found["answers"], found["accuracy"]) == (50, 0.8)
    confidence = found["confidence"]
    # All are equally sure, so that each bin has the share of right answers of all.
    assert confidence["ece"]["mean"] == pytest.approx(0.9 - 0.8)
    assert confidence["brier"]["mean"] == pytest.approx(0.8 * 0.01 + 0.2 * 0.81)
    assert main(["score", str(file)]) == 0
    table = capsys.readouterr().out
    for part in ("accuracy of the surest 80 % 0.8000", "AUROC of right and wrong 0.5000", "Brier"):
        assert part in table
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"[\xff]")
    assert main(["score", str(broken)]) == 2
    assert f"{broken}: cannot be read" in capsys.readouterr().err
