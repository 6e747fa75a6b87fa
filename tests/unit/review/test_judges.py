"""Several judges of the same answers: their agreement with raters and each other."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.results.store import read_json, read_rows
from medsweep.review.judges import ACCEPTABLE, JUDGE, NOT_MEASURED, counted_judge, update_judges
from medsweep.review.sheet import KEY
from reviewed import results

from .conftest import AXES, BASE, Body, Speak, fair, judge, record

MANY = 15  # questions, with 29 answers: enough for a judge to count


async def test_judges_that_end_at_the_same_time_are_all_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the file is held, each reads it before any writes it."""
    summary, _ = await judge(folder, fair)
    (folder / JUDGE).unlink()

    def slowly(path: Path) -> Any:
        value = read_json(path)
        time.sleep(0.1)
        return value

    monkeypatch.setattr("medsweep.review.judges.read_json", slowly)
    updates = (
        asyncio.to_thread(update_judges, folder, seed=0, new={name: summary}) for name in "abc"
    )
    await asyncio.gather(*updates)
    assert list(record(folder)["judges"]) == ["a", "b", "c"]


def rate(folder: Path, rater: str, better: str) -> Path:
    key = json.loads((folder / KEY).read_text())
    ratings = {
        answer: {
            axis.name: axis.best if any(better in each for each in of["systems"]) else 0
            for axis in AXES
        }
        for answer, of in key["answers"].items()
    }
    file = folder.parent / f"{rater}.json"
    file.write_text(json.dumps({"review": key["review"], "rater": rater, "ratings": ratings}))
    return file


@pytest.mark.parametrize(
    ("liked", "questions", "agrees"),
    [(", adapter", MANY, True), (", adapter", 4, False), (", base", MANY, False)],
)
async def test_agreement_with_raters_decides_what_a_judge_is_worth(
    folder: Path, liked: str, questions: int, agrees: bool
) -> None:
    results(folder, questions=questions)
    page = str(folder.parent / "page.html")
    assert main(["review", "export", str(folder), "--out", page, "--seed", "5"]) == 0
    files = [str(rate(folder, name, liked)) for name in ("ab", "cd")]
    assert main(["review", "import", str(folder), *files]) == 0
    # The judge draws in another order: answers are told by their texts.
    summary, _ = await judge(folder, fair, "--seed", "2", "--questions", str(MANY))
    alpha = summary["agreement"]["consensus"]
    assert alpha["units"] == 2 * questions - 1
    if agrees:
        assert ACCEPTABLE <= alpha["low"] < alpha["alpha"] == 1
        assert summary["standing"].startswith("agrees with raters")
    else:
        assert "an opinion: agreement with raters is not shown to reach" in summary["standing"]
        assert "consensus, omission, harm_extent" in summary["standing"]
        few = "(raters rated 7 of its answers; at least 20 are needed)"
        assert (few in summary["standing"]) == (questions == 4)
        assert alpha["alpha"] == 1 if questions == 4 else alpha["alpha"] < 0


async def test_an_axis_of_ones_own_was_not_asked_of_the_raters(folder: Path) -> None:
    rubric = folder.parent / "mine.yaml"
    rubric.write_text(
        "name: mine\ncriteria: [{name: consensus, title: Right?, options: ['no', 'yes']}]\n"
    )
    page = str(folder.parent / "page.html")
    assert main(["review", "export", str(folder), "--out", page]) == 0
    assert main(["review", "import", str(folder), str(rate(folder, "ab", "adapter"))]) == 0
    summary, _ = await judge(folder, lambda _: '{"consensus": 2}', "--rubric", str(rubric))
    assert summary["agreement"]["consensus"]["units"] == 0, "another scale of the same name"
    assert summary["standing"] == NOT_MEASURED


def harsh(body: Body) -> str:
    """Dislike what a fair judge likes, and the other way round."""
    rated = json.loads(fair(body))
    return json.dumps({axis.name: len(axis.options) + 1 - rated[axis.name] for axis in AXES})


async def test_every_judge_is_kept_beside_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results(folder, questions=MANY)

    async def asked(name: str, speak: Speak, *words: str) -> None:
        async with running_mock(MockTiming(), speak=speak) as server:
            command = ["judge", str(folder), "--url", server.base_url, "--model", name, *words]
            assert await asyncio.to_thread(main, command) == 0

    await asked("one", fair)
    assert record(folder)["between_judges"] == []
    await asked("two", fair)
    [alike] = record(folder)["between_judges"]
    assert (alike["judges"], alike["rubric"]) == (["one", "two"], "medsweep")
    consensus = alike["agreement"]["consensus"]
    assert (consensus["alpha"], consensus["high"], consensus["units"]) == (1, 1, 2 * MANY - 1)
    assert consensus["low"] < 0.9, "that they agree on 29 answers does not show that they always do"
    assert "alpha between one, two" in capsys.readouterr().out
    # A judge that is asked again takes its own place.
    await asked("two", harsh, "--seed", "2")
    [alike] = record(folder)["between_judges"]
    assert alike["agreement"]["consensus"]["alpha"] < 0
    judges = record(folder)["judges"].items()
    shares = {name: each["passes"][BASE]["share"] for name, each in judges}
    assert shares == {"one": pytest.approx(1 / MANY), "two": pytest.approx(1 - 1 / MANY)}
    page = (folder / "report.html").read_text()
    assert all(f"{name} (an opinion" in page for name in shares)
    assert "Krippendorff&#39;s alpha between judges" in page
    # By another rubric a model is another judge, with which nothing can be compared.
    rubric = folder.parent / "mine.yaml"
    rubric.write_text(
        "name: mine\ncriteria: [{name: consensus, title: Right?, options: ['no', 'yes']}]\n"
    )
    await asked("two", lambda _: '{"consensus": 2}', "--rubric", str(rubric))
    assert list(record(folder)["judges"]) == ["one", "two", "two (mine)"]
    assert [each["judges"] for each in record(folder)["between_judges"]] == [["one", "two"]]

    # Ratings that come later decide which judge counts.
    assert record(folder)["counted"] is None
    export = ["review", "export", str(folder), "--out", str(folder.parent / "page.html")]
    assert main(export) == 0
    assert main(["review", "import", str(folder), str(rate(folder, "ab", ", adapter"))]) == 0
    assert record(folder)["counted"] == "one"
    standings = [each["standing"].split(":")[0] for each in record(folder)["judges"].values()]
    assert standings == ["agrees with raters", "an opinion", "an opinion"]
    by = {each["verified_by"] for each in read_rows(folder / "benchmark.parquet")}
    assert by == {
        "quantities, statements, a judge (one) and raters; no entailment; "
        "not counted: two, two (mine)"
    }
    assert "For verified answers one counts." in (folder / "report.html").read_text()


def test_of_judges_that_agree_with_raters_the_one_with_the_best_weakest_axis_counts() -> None:
    def judge(*lows: float | None, units: int = 20) -> dict[str, Any]:
        axes = {f"axis {place}": {"low": low, "units": units} for place, low in enumerate(lows)}
        return {"agreement": axes}

    judges = {"a": judge(0.7, 1.0), "b": judge(0.8, 0.8), "c": judge(0.5, 1.0), "d": judge(None)}
    assert counted_judge(judges) == "b"
    assert counted_judge(judges | {"aa": judge(0.8)}) == "aa", "the first by name of equal ones"
    assert counted_judge({"c": judge(0.5, 1.0), "d": judge(None), "old": {}}) is None
    assert counted_judge(judges | {"few": judge(0.9, units=19)}) == "b"
