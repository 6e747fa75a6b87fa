import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsweep.cli import main

SWEEP = """\
name: small
cells: [distilgpt2@host]
dataset: {sample: 100, eval_fraction: 0.1}
load: {points: [{concurrency: 1}]}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.jsonl"
    lines = [json.dumps({"question": f"Q{n} ? ?", "answer": f"A{n}."}) for n in range(9)]
    file.write_text("\n".join([*lines, '{"question": "Q", "answer": ""}']))
    return file


def test_reading_a_dataset_counts_what_each_rule_did(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["datasets", "local", "--path", str(own)]) == 0
    assert capsys.readouterr().out == (
        "local: 9 pairs of 10 rows of own.jsonl\n"
        "  dropped 1 by empty\n"
        "  mended 9 by question-marks\n"
    )
    assert main(["datasets", "local", "--path", str(own), "--json"]) == 0
    [source] = json.loads(capsys.readouterr().out)["sources"]
    assert (source["dropped"], source["mended"]) == ({"empty": 1}, {"question-marks": 9})


def test_faults_of_the_arguments(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, problem in (
        (["local"], "needs `path`"),
        (["medqua"], "did you mean 'medquad'?"),
        (["wikidoc", "--path", str(own)], "no row has a column 'input'"),
        (["embedded", "--show", "1", "--template", "gema"], "did you mean 'gemma'?"),
        (["embedded", "--export", "rows.txt"], "unknown file type"),
    ):
        assert main(["datasets", *arguments]) == 2
        assert problem in capsys.readouterr().err


def test_columns_of_one_s_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("Frage,Antwort\nWas ist Asthma?,Eine Krankheit.\n")
    command = ["datasets", "local", "--path", str(file)]
    assert main([*command, "--set", "dataset.columns.question=Frage"]) == 2
    assert "set dataset.columns.answer" in capsys.readouterr().err
    command += ["--set", "dataset.columns={question: Frage, answer: Antwort}"]
    assert main([*command, "--set", "dataset.sampel=3"]) == 2
    assert "dataset.sampel: unknown field (did you mean 'sample'?)" in capsys.readouterr().err
    assert main(command) == 0
    assert capsys.readouterr().out == "local: 1 pairs of 1 rows of faq.csv\n"


def test_rows_as_a_model_sees_them(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["datasets", "local", "--path", str(own), "--show", "2", "--template", "gemma"]) == 0
    )
    shown = capsys.readouterr().out
    assert "input: Q0?" in shown
    assert "prompt: <bos><start_of_turn>user" in shown
    assert "output: A1." in shown
    assert "Q2" not in shown


def test_a_sweep_s_dataset_is_split_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "small.yaml"
    sweep.write_text(SWEEP)
    exported = tmp_path / "rows.parquet"
    assert main(["datasets", str(sweep), "--export", str(exported), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["train"], found["evaluation"], found["rows"]) == (90, 10, [])
    rows = pq.read_table(exported).to_pylist()
    assert [row["side"] for row in rows] == ["train"] * 90 + ["evaluation"] * 10
    assert list(rows[0]) == ["instruction", "input", "prompt", "output", "side"]
    assert main(["datasets", str(sweep), "--set", "dataset.sample=50"]) == 0
    assert "45 for training, 5 for evaluation" in capsys.readouterr().out


def test_the_split_of_a_sweep_says_how_many_answers_were_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": f"{what} number {n}?", "answer": " ".join(f"w{n}x{k}" for k in range(20))}
        for n in range(50)
        for what in ("Causes of", "Signs of")
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    sweep = tmp_path / "small.yaml"
    sweep.write_text(
        f"name: small\nseed: 1\ncells: [distilgpt2@host]\ndataset: {{name: local, path: {data}, "
        "eval_fraction: 0.2}\nload: {points: [{concurrency: 1}]}\n"
    )
    assert main(["datasets", str(sweep), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["leaks"]
    assert len(found) > 10
    assert found[0]["share"] == 1.0
    assert main(["datasets", str(sweep)]) == 0
    out = capsys.readouterr().out
    assert f"{len(found)} of 20 evaluation answers leaked" in out
    assert f"and {len(found) - 10} more" in out
    assert main(["datasets", str(sweep), "--set", "dataset.leaks=exclude"]) == 0
    assert "0 of 20 evaluation answers leaked" in capsys.readouterr().out
