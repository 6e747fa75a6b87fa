import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.errors import MedSweepError
from medsweep.loadgen.mock.server import MockServer, running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.loadgen.server import chat
from medsweep.results.store import read_json, read_rows
from medsweep.review.judges import ACCEPTABLE, JUDGE, NOT_MEASURED, counted_judge, update_judges
from medsweep.review.replies import read_choice, read_ratings
from medsweep.review.rubric import shipped_rubric
from medsweep.review.sheet import KEY
from medsweep.review.votes import VOTES
from reviewed import results

AXES = shipped_rubric().axes
ADAPTER, BASE = "small-model on p, adapter", "small-model on p, base"
ITEMS, PAIRS = 7, 3  # of four questions; on one of them both answer alike
MANY = 15  # questions, with 29 answers: enough for a judge to count

Body = dict[str, Any]
Speak = Callable[[Body], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a public dataset."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "sweep.yaml").write_text("dataset: {name: embedded}\n")
    return results(tmp_path / "results")


def data(body: Body) -> dict[str, str]:
    """What the prompt shows the judge."""
    lines = body["messages"][0]["content"].splitlines()
    return json.loads(next(line for line in lines if line.startswith('{"question"')))


def fair(body: Body) -> str:
    """Like answers with water, wherever they stand."""
    shown = data(body)
    if "A" in shown:
        liked = [letter for letter in "AB" if "Water" in shown[letter]]
        return json.dumps({"better": liked[0] if len(liked) == 1 else "neither"})
    good = any(word in shown["answer"] for word in ("Water", "Same"))
    return json.dumps({axis.name: len(axis.options) if good else 1 for axis in AXES})


def first(body: Body) -> str:
    """Prefer what is shown first."""
    return '{"better": "A"}' if "A" in data(body) else fair(body)


async def judge(folder: Path, speak: Speak, *words: str, code: int = 0) -> tuple[Any, MockServer]:
    async with running_mock(MockTiming(), speak=speak) as server:
        command = ["judge", str(folder), "--url", server.base_url, "--questions", "9", *words]
        assert await asyncio.to_thread(main, command) == code
    [summary] = record(folder)["judges"].values()
    return summary, server


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "judge.json").read_text())


def votes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / VOTES).read_text().splitlines() if line]


async def test_answers_are_rated_without_their_origin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, server = await judge(folder, fair, "--usd-per-million", "2", "10")
    asked = [body["messages"][0]["content"] for body in server.requests]
    assert len(asked) == ITEMS
    assert not [prompt for prompt in asked for name in ("small-model", "base") if name in prompt]
    assert len({prompt.index("consensus:") < prompt.index("bias:") for prompt in asked}) == 2
    assert summary["systems"][ADAPTER]["consensus"]["best"] == 1
    # The answer that both gave is rated as the adapter's; the other three are worst.
    assert summary["systems"][BASE]["harm_extent"]["best"] == 1 / 4
    assert summary["passes"][ADAPTER]["share"] == 1
    assert summary["passes"][BASE]["share"] == 1 / 4
    assert summary["standing"] == NOT_MEASURED
    assert summary["comparison"] is None
    # Ten words of JSON a reply: five names and five numbers.
    assert (summary["prompt_tokens"], summary["output_tokens"]) == (7 * PROMPT_TOKENS, 7 * 10)
    assert summary["usd"] == pytest.approx((7 * PROMPT_TOKENS * 2 + 70 * 10) / 1e6)
    assert NOT_MEASURED in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert "(an opinion: agreement with raters was not measured) rated 7 answers" in page
    assert "No judge counts for verified answers." in page
    assert "What judges say" in page
    told = (folder / VOTES).read_text()
    assert not [word for word in ("Water", "illness", "Rest") if word in told], "no text is stored"


async def test_a_price_is_not_known_without_being_given(folder: Path) -> None:
    summary, _ = await judge(folder, fair)
    assert summary["usd"] is None
    assert 0 < summary["reply_mean_s"] <= summary["reply_max_s"]


async def test_both_orders_show_a_judge_that_likes_what_comes_first(folder: Path) -> None:
    summary, server = await judge(folder, first, "--compare")
    assert len(server.requests) == ITEMS + 2 * PAIRS
    comparison = summary["comparison"]
    assert comparison["pairs"] == PAIRS
    assert comparison["first_preferred"]["share"] == 1
    assert comparison["same_in_both_orders"]["share"] == 0
    # A choice that the order turned is none.
    assert [rank["win_share"] for rank in comparison["ranking"]] == [0.5, 0.5]
    page = (folder / "report.html").read_text()
    assert "a choice counts only if it is the same in both orders" in page


async def test_a_fair_judge_prefers_the_same_answer_in_both_orders(folder: Path) -> None:
    summary, _ = await judge(folder, fair, "--compare", "--concurrency", "3")
    comparison = summary["comparison"]
    assert comparison["first_preferred"]["share"] == 0.5
    assert comparison["same_in_both_orders"]["share"] == 1
    assert [rank["system"] for rank in comparison["ranking"]] == [ADAPTER, BASE]
    assert comparison["ranking"][0]["wins"] == PAIRS


async def test_a_reply_that_cannot_be_used_is_asked_for_once_more(folder: Path) -> None:
    def careless(body: Body) -> str:
        if len(body["messages"]) == 1:
            return '{"consensus": 3'
        assert "cannot be used: the reply" in body["messages"][2]["content"]
        return f"Here it is:\n```json\n{fair(body)}\n```"

    summary, server = await judge(folder, careless)
    assert summary["failed"] == 0
    assert len(server.requests) == summary["replies"] == 2 * ITEMS
    assert summary["usable"] == {"rate": {"votes": ITEMS, "at_once": 0, "asked_again": ITEMS}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"consensus": 3', "the reply holds no JSON object"),
        ("{consensus: 3}", "the reply is not JSON"),
        ('{"consensus": 3}', "does not rate omission, harm_extent"),
        ("I'm sorry, but I can't help with that.", "the judge declines to judge"),
        ("", "the reply holds no JSON object"),
    ],
)
async def test_what_failed_stays_with_its_reason(
    folder: Path, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def moody(body: Body) -> str:
        return text if data(body)["answer"].startswith("Nothing") else fair(body)

    summary, _ = await judge(folder, moody, code=1)
    assert summary["failed"] == 3
    assert sum(summary["failures"].values()) == 3
    assert reason in next(iter(summary["failures"]))
    assert reason in capsys.readouterr().out
    assert len(votes(folder)) == ITEMS, "nothing is lost"
    assert BASE in summary["systems"], "the answer that both gave was rated"
    again, server = await judge(folder, fair, code=1)
    assert not server.requests, "each was asked twice, with what is wrong"
    assert (again["failures"], again["replies"]) == (summary["failures"], summary["replies"])
    summary, server = await judge(folder, fair, "--seed", "1")
    assert len(server.requests) == ITEMS, "another seed is another vote"
    assert summary["failed"] == 0
    assert summary["passes"][BASE]["share"] == 1 / 4


async def test_what_was_not_answered_is_asked_again(folder: Path) -> None:
    def lost(body: Body) -> str:
        if data(body)["answer"].startswith("Same"):
            raise ConnectionError
        return fair(body)

    summary, _ = await judge(folder, lost, code=1)
    assert summary["failed"] == 1
    summary, server = await judge(folder, fair)
    assert len(server.requests) == 1
    assert summary["failed"] == 0


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


async def test_a_judge_that_cannot_judge_ends_in_counts_and_reasons(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = '{"a":' * 200 + "1" + "}" * 200
    babble = ["Water is good.", "{", "}{", "[1, 2]", '{"better": 1}', "{{}}", "\ufffd" * 9, deep]
    spoken = iter(babble * 99)
    command = ("--compare", "--votes", "2", "--concurrency", "2")
    summary, server = await judge(folder, lambda _: next(spoken), *command, code=1)
    asked = {"rate": 2 * ITEMS, "compare": 2 * 2 * PAIRS}
    assert summary["usable"] == {
        kind: {"votes": count, "at_once": 0, "asked_again": 0} for kind, count in asked.items()
    }
    assert summary["failed"] == summary["votes"] == sum(summary["failures"].values())
    assert len(server.requests) == 2 * sum(asked.values())
    assert summary["systems"] == summary["passes"] == summary["passed"] == {}
    comparison = summary["comparison"]
    assert (comparison["first_preferred"], comparison["ranking"]) == (None, [])
    assert summary["between_votes"]["bias"]["alpha"] is None
    assert "rate: 0 of 14 had a reply that can be used at once" in capsys.readouterr().out
    assert "26 of 26 votes failed" in (folder / "report.html").read_text()


async def test_a_judge_that_says_the_same_of_everything_agrees_with_nobody(folder: Path) -> None:
    def same(body: Body) -> str:
        if "A" in data(body):
            return '{"better": "neither"}'
        return json.dumps({axis.name: 1 for axis in AXES})

    summary, _ = await judge(folder, same, "--compare", "--votes", "2")
    # Where all ratings are equal, chance agrees as much.
    assert summary["between_votes"]["consensus"]["alpha"] is None
    assert summary["comparison"]["first_preferred"] is None
    assert summary["comparison"]["same_in_both_orders"]["share"] == 1
    assert {rank["win_share"] for rank in summary["comparison"]["ranking"]} == {0.5}
    assert record(folder)["judges"]["mock"] == summary


async def test_a_run_goes_on_where_it_was_stopped(folder: Path) -> None:
    async with running_mock(MockTiming(), speak=fair) as server:
        command = ["judge", str(folder), "--url", server.base_url, "--questions", "9"]
        assert await asyncio.to_thread(main, command) == 0
        assert await asyncio.to_thread(main, command) == 0
        assert len(server.requests) == ITEMS, "all votes were there"
        whole = (folder / VOTES).read_bytes()
        (folder / VOTES).write_bytes(whole[:-20])  # killed while it wrote the last line
        assert await asyncio.to_thread(main, command) == 0
        assert len(server.requests) == ITEMS + 1
        assert await asyncio.to_thread(main, [*command, "--questions", "2"]) == 0
        assert len(server.requests) == ITEMS + 1, "fewer of the same questions"
        assert await asyncio.to_thread(main, [*command, "--model", "other"]) == 0
        assert len(server.requests) == 2 * ITEMS + 1


async def test_texts_that_may_be_private_go_only_where_a_flag_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = results(tmp_path / "private")
    async with running_mock(MockTiming(), speak=fair) as server:
        command = ["judge", str(private), "--url", server.base_url]
        assert await asyncio.to_thread(main, command) == 2
        assert "--send-to URL" in capsys.readouterr().err
        assert server.received == 0
        command[2] = "--send-to"
        assert await asyncio.to_thread(main, command) == 0
        assert server.received == ITEMS
    assert (private / "judge.json").stat().st_mode & 0o077 == 0
    assert (private / VOTES).stat().st_mode & 0o077 == 0


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


async def test_several_votes_show_whether_the_judge_agrees_with_itself(folder: Path) -> None:
    def torn(body: Body) -> str:
        best = body["seed"] != 2 and "Nothing" not in data(body)["answer"]
        return json.dumps({axis.name: len(axis.options) if best else 1 for axis in AXES})

    summary, server = await judge(folder, torn, "--votes", "3")
    assert {body["temperature"] for body in server.requests} == {0.7}
    assert len(server.requests) == 3 * ITEMS
    assert 0 < summary["between_votes"]["consensus"]["alpha"] < 1
    assert summary["systems"][ADAPTER]["consensus"]["best"] == pytest.approx(2 / 3)
    # Two of three votes pass it.
    assert summary["passes"][ADAPTER]["share"] == 1


async def test_a_reply_before_the_server_fails_keeps_its_cost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(body: Body) -> str:
        return "none" if data(body)["answer"].startswith("Nothing") else fair(body)

    def gone(url: str, model: str, messages: list[dict[str, str]], **settings: Any) -> Any:
        if len(messages) > 1:
            raise MedSweepError("the server does not answer")
        return chat(url, model, messages, **settings)

    monkeypatch.setattr("medsweep.review.votes.chat", gone)
    summary, _ = await judge(folder, careless, code=1)
    assert (summary["failed"], summary["replies"]) == (3, ITEMS)
    # After the second run each has two replies, and neither was the answer to the second request.
    await judge(folder, careless, code=1)
    assert [len(vote["replies"]) for vote in votes(folder)[ITEMS:]] == [2, 2, 2]
    monkeypatch.undo()
    summary, _ = await judge(folder, fair)
    assert (summary["failed"], summary["replies"]) == (0, ITEMS + 3 * 2)


@pytest.mark.parametrize(("concurrency", "failed"), [(1, 3), (4, 3 + 3)])
def test_a_server_that_is_gone_ends_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str], concurrency: int, failed: int
) -> None:
    command = ["judge", str(folder), "--url", "http://127.0.0.1:9/v1", "--model", "m"]
    assert main([*command, "--concurrency", str(concurrency)]) == 4
    assert "does not answer" in capsys.readouterr().err
    # Requests in flight fail together, of a server that starts anew too.
    assert [vote["status"] for vote in votes(folder)] == ["failed"] * failed
    assert not (folder / "judge.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--votes", "0"], "--votes 0: must be at least 1"),
        (["--max-tokens", "0"], "--max-tokens 0"),
        (["--temperature", "3"], "--temperature 3.0: must be from 0 to 2"),
        (["--rubric", "no.yaml"], "no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(folder), "--url", "http://127.0.0.1:9/v1", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "4", "true", '"3"', "2.0", "null"])
def test_ratings_are_whole_numbers_of_options(value: str) -> None:
    text = json.dumps({axis.name: 1 for axis in AXES}).replace("1", value, 1)
    with pytest.raises(ValueError, match="consensus is no whole number from 1 to 3"):
        read_ratings(text, shipped_rubric())


def test_a_reply_says_what_was_asked_and_no_more() -> None:
    every = {axis.name: 1 for axis in AXES}
    assert read_ratings(json.dumps(every), shipped_rubric()) == dict.fromkeys(every, 0)
    with pytest.raises(ValueError, match="rates what was not asked"):
        read_ratings(json.dumps(every | {"charm": 1}), shipped_rubric())
    assert read_choice('I think {"better": "B"}.') == "B"
    for text in ('{"better": "C"}', '{"better": ["A"]}', '{"best": "A"}'):
        with pytest.raises(ValueError, match="with A, B or neither"):
            read_choice(text)
