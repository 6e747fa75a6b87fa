import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.report.tables.human import human_table
from medsweep.review.rubric import shipped_rubric
from medsweep.review.sheet import KEY, export
from reviewed import QUESTIONS, results

BEST = {axis.name: axis.best for axis in shipped_rubric().axes}
WORST = dict.fromkeys(BEST, 0)


def items(page: Path) -> list[dict[str, Any]]:
    text = page.read_text().partition('id="data">')[2].partition("</script>")[0]
    return json.loads(text)["items"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return results(tmp_path / "results")


def rate(folder: Path, rater: str, better: str, worse: dict[str, int] = WORST) -> Path:
    key = json.loads((folder / KEY).read_text())
    ratings = {
        answer: BEST if any(better in system for system in of["systems"]) else worse
        for answer, of in key["answers"].items()
    }
    file = folder.parent / f"{rater}.json"
    file.write_text(json.dumps({"review": key["review"], "rater": rater, "ratings": ratings}))
    return file


def test_the_page_is_blinded_shuffled_and_asks_about_equal_answers_once(folder: Path) -> None:
    page = folder.parent / "page.html"
    assert export(folder, page, questions=9, seed=1) == (QUESTIONS, 2 * QUESTIONS - 1)
    html = page.read_text()
    for name in ("small-model", "adapter", "base model", "q1"):
        assert name not in html
    assert "<illness>" not in html, "texts are escaped"
    shown = items(page)
    assert {each["question"] for each in shown} == {f"What is <illness> {n}?" for n in range(4)}
    key = json.loads((folder / KEY).read_text())["answers"]
    [same] = [key[each["id"]] for each in shown if each["answer"] == "Same."]
    assert same["systems"] == ["small-model on p, adapter", "small-model on p, base"]
    orders = set()
    for seed in range(6):
        export(folder, page, questions=2, seed=seed)
        orders.add(tuple(each["answer"] for each in items(page)))
        assert len({each["question"] for each in items(page)}) == 2
    assert len(orders) > 2


def test_ratings_are_merged_and_stand_first_in_the_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder.parent / "page.html"
    assert main(["review", "export", str(folder), "--out", str(page)]) == 0
    files = [rate(folder, "ab", ", adapter"), rate(folder, "cd", ", adapter", WORST | {"bias": 1})]
    assert main(["review", "import", str(folder), *map(str, files), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert (found["raters"], found["answers"]) == (2, 7)
    adapter = found["systems"]["small-model on p, adapter"]
    assert adapter["consensus"]["best"] == 1
    # The answer that both gave is rated as the adapter's; the other three are worst.
    assert found["systems"]["small-model on p, base"]["consensus"]["best"] == 1 / 4
    assert found["agreement"]["consensus"]["alpha"] == 1
    assert found["agreement"]["bias"]["alpha"] < 0.5
    assert [rank["system"] for rank in found["ranking"]] == [
        "small-model on p, adapter",
        "small-model on p, base",
    ]
    assert found["ranking"][0]["comparisons"] == 8
    report = (folder / "report.html").read_text()
    assert report.index("What clinicians say") < report.index("Figures by rules")
    table = human_table(json.loads((folder / "review.json").read_text()))
    assert [line[0].text for line in table.rows][-1] == "Krippendorff's alpha"
    assert main(["review", "import", str(folder), *map(str, files)]) == 0
    assert "ranking" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"review": "other"}, "the key is of"),
        ({"ratings": {"a1": {"consensus": 3}}}, "not of this review"),
        ({"ratings": {"a1": {"taste": 0}}}, "not of this review"),
        ({"ratings": {"zz": {}}}, "not of this review"),
        ({"ratings": {}}, "no answer is rated"),
    ],
)
def test_files_of_another_review_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    export(folder, folder.parent / "page.html", questions=2, seed=0)
    file = rate(folder, "ab", ", adapter")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert main(["review", "import", str(folder), str(file)]) == 2
    assert message in capsys.readouterr().err


def test_a_rater_counts_once_and_texts_are_needed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", "import", str(folder), "x.json"]) == 2
    assert "no review-key.json" in capsys.readouterr().err
    export(folder, tmp_path / "page.html", questions=2, seed=0)
    file = rate(folder, "ab", ", adapter")
    assert main(["review", "import", str(folder), str(file), str(file)]) == 2
    assert "in another file already" in capsys.readouterr().err
    private = results(tmp_path / "private", texts=False)
    assert main(["review", "export", str(private), "--out", str(tmp_path / "x.html")]) == 2
    assert "no texts of answers" in capsys.readouterr().err
