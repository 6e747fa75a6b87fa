import asyncio
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.cli import safety as safety_verb
from medsweep.cli.asking import Answerer
from medsweep.datasets.safety import safety_prompts
from medsweep.errors import StageError
from medsweep.loadgen.foreign import ForeignServer
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.review.votes import VOTES
from reviewed import results

KINDS = {each.prompt: each.kind for each in safety_prompts()}
CRITERIA = {each.prompt: each.judge for each in safety_prompts()}
GOOD = {
    "red flag": "Call an ambulance now.",
    "dangerous": "I can't help with that.",
    "unanswerable": "I do not know, because I cannot see it.",
    "harmless": "Here is how it is done: with soap.",
}


def prudent(body: dict[str, Any]) -> str:
    question = body["messages"][0]["content"]
    return GOOD[KINDS[question]] if question in KINDS else "Take 5 mg."


def timid(_: dict[str, Any]) -> str:
    return "I'm sorry, but I can't help with that."


async def safety(folder: Path, speak: Any, *words: str) -> list[dict[str, Any]]:
    async with running_mock(MockTiming(), speak=speak) as server:
        command = ["safety", "--url", server.base_url, "--out", str(folder), *words]
        assert await asyncio.to_thread(main, command) == 0
        return [body["messages"][0]["content"] for body in server.requests]


async def test_models_stand_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results(tmp_path / "results")
    assert len(await safety(folder, prudent, "--name", "prudent")) == 120
    await safety(folder, timid, "--name", "timid")
    assert "over-refusal" in capsys.readouterr().out
    models = json.loads((folder / "safety.json").read_text())["models"]
    shares = {
        name: {each["fault"]: each["share"] for each in found["shares"]}
        for name, found in models.items()
    }
    assert set(shares["prudent"].values()) == {0.0}
    assert shares["timid"] == {
        "missed red flags": 1.0,
        "under-refusal": 0.0,
        "made-up answers": 0.0,
        "over-refusal": 1.0,
    }
    rows = [json.loads(line) for line in (folder / "safety.jsonl").read_text().splitlines()]
    assert len(rows) == 240
    [row] = [row for row in rows if row["id"] == "harmless-01" and row["model"] == "timid"]
    assert (row["behaviours"], row["right"]) == (["declines"], False)
    assert (row["judge"], row["judged"]) == (CRITERIA[row["prompt"]], None)
    assert all(found["judge"] is None for found in models.values())
    assert not (folder / VOTES).exists(), "nobody judges by default"
    assert "Missed red flags" in (folder / "report.html").read_text()
    await safety(folder, prudent, "--name", "timid")
    rows = (folder / "safety.jsonl").read_text().splitlines()
    assert len(rows) == 240, "asked again, it takes the place of its earlier answers"


async def test_several_requests_at_a_time_give_the_same_shares(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "eight"]
    for folder, concurrency in zip(folders, ("1", "8"), strict=True):
        asked = await safety(folder, prudent, "--rewordings", "3", "--concurrency", concurrency)
        assert len(asked) == 120 + 3 * 7
    for file in ("safety.json", "safety.jsonl"):
        one, eight = ((folder / file).read_text() for folder in folders)
        assert one == eight, "answers stand beside their questions, in whatever order they come"


async def test_answers_to_other_words_are_compared(tmp_path: Path) -> None:
    def shouting(body: dict[str, Any]) -> str:
        question = body["messages"][0]["content"]
        return "Take 50 mg." if question.isupper() else prudent(body)

    questions = tmp_path / "questions.txt"
    questions.write_text("How much of it is taken by an adult?\nWhat dose is usual for children?\n")
    asked = await safety(tmp_path, shouting, "--rewordings", "5", "--questions", str(questions))
    assert len(asked) == 120 + 2 * 7
    [found] = json.loads((tmp_path / "safety.json").read_text())["models"].values()
    changed = {each["rewording"]: each["contradicting"]["share"] for each in found["rewordings"]}
    assert changed.pop("upper case") == 1
    assert set(changed.values()) == {0}
    assert not (tmp_path / "report.html").exists(), "there are no results to report"


async def test_a_prompt_that_was_not_answered_has_a_reason(tmp_path: Path) -> None:
    timing = MockTiming(ttft_s=0.0, gap_s=0.0, tokens=2, fail="http_500", fail_share=0.01)
    async with running_mock(timing) as server:
        command = ["safety", "--url", server.base_url, "--out", str(tmp_path)]
        assert await asyncio.to_thread(main, command) == 1
    rows = [json.loads(line) for line in (tmp_path / "safety.jsonl").read_text().splitlines()]
    [failed] = [row for row in rows if row["reason"]]
    assert "status 500" in failed["reason"]
    assert (failed["answer"], failed["right"]) == (None, None)
    [found] = json.loads((tmp_path / "safety.json").read_text())["models"].values()
    assert found["failed"] == 1
    assert sum(each["answers"] for each in found["shares"]) == 119


def leaves(answer: Callable[[dict[str, Any]], str], after: int) -> Callable[[dict[str, Any]], str]:
    """Return what a server says that answers so many requests, and then is gone."""
    left = after

    def leaving(body: dict[str, Any]) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError("the server has gone")
        return answer(body)

    return leaving


@pytest.mark.parametrize("concurrency", ["1", "4"])
async def test_a_run_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], concurrency: str
) -> None:
    leaving = leaves(prudent, after=50)

    words = ["--name", "m", "--concurrency", concurrency, "--rewordings", "1"]
    async with running_mock(MockTiming(), speak=leaving) as server:
        command = ["safety", "--url", server.base_url, "--out", str(tmp_path), *words]
        assert await asyncio.to_thread(main, command) != 0
    [name] = [name for name in os.listdir(tmp_path) if name.endswith(".partial.jsonl")]
    partial = tmp_path / name
    assert partial.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "safety.json").exists()
    partial.write_bytes(partial.read_bytes()[:-20])  # killed while it wrote the last line
    stored = partial.read_text().count('"answer"')
    assert "of an earlier run" not in capsys.readouterr().err
    asked = await safety(tmp_path, prudent, *words)
    assert 120 + 7 - 50 < len(asked) < 120 + 7, "what was answered is not asked again"
    assert len(asked) <= 120 + 7 - stored + 1
    told = f"answers of an earlier run ({partial}; delete it to start anew)"
    assert f"continues with {120 + 7 - len(asked)} {told}" in capsys.readouterr().err
    [found] = json.loads((tmp_path / "safety.json").read_text())["models"].values()
    assert {each["answers"] for each in found["shares"]} == {30}
    assert {each["share"] for each in found["shares"]} == {0.0}
    assert not partial.exists()


async def test_another_way_to_ask_is_another_run(tmp_path: Path) -> None:
    timing = MockTiming(ttft_s=0.0, gap_s=0.0, tokens=2, fail="http_500", fail_share=0.01)
    async with running_mock(timing) as server:
        command = ["safety", "--url", server.base_url, "--out", str(tmp_path), "--name", "m"]
        assert await asyncio.to_thread(main, command) == 1
    asked = await safety(tmp_path, prudent, "--name", "m", "--max-tokens", "9")
    assert len(asked) == 120
    asked = await safety(tmp_path, prudent, "--name", "m")
    assert len(asked) == 1, "the one that was not answered"


async def test_another_version_of_a_server_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = "0.31"

    def get(_: ForeignServer, url: str) -> tuple[int, bytes]:
        if url.endswith("/models"):
            return 200, b'{"data": [{"id": "mock", "owned_by": "vllm"}]}'
        return 200, json.dumps({"version": version}).encode()

    monkeypatch.setattr(ForeignServer, "get", get)
    timing = MockTiming(ttft_s=0.0, gap_s=0.0, tokens=2, fail="http_500", fail_share=0.01)
    async with running_mock(timing) as server:
        command = ["safety", "--url", server.base_url, "--out", str(tmp_path), "--name", "m"]
        assert await asyncio.to_thread(main, command) == 1
    version = "0.32"
    assert len(await safety(tmp_path, prudent, "--name", "m")) == 120
    version = "0.31"
    asked = await safety(tmp_path, prudent, "--name", "m")
    assert len(asked) == 1, "the one that was not answered"


@pytest.mark.parametrize("changed", ["adapter_model.safetensors", "base/model.safetensors"])
def test_other_weights_are_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    asked: list[str] = []

    def ask(question: str, hear: Callable[[str], None]) -> None:
        asked.append(question)
        if len(asked) == 50:
            raise StageError("no answer")
        hear("I do not know.")

    folder = tmp_path / "a"
    (folder / "base").mkdir(parents=True)
    for name in ("adapter_model.safetensors", "base/model.safetensors"):
        (folder / name).write_bytes(b"first")
    model = Answerer("a", ask, folder / "base")
    monkeypatch.setattr(safety_verb, "answerer", lambda _: nullcontext(model))
    weights = folder / changed
    command = ["safety", "--adapter", str(folder), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    asked[:] = asked[:1]
    weights.write_bytes(b"other")
    assert main(command) == 1
    assert len(asked) == 1 + 120
    weights.write_bytes(b"first")
    asked.clear()
    assert main(command) == 0
    assert len(asked) == 1, "the one that was not answered"


@pytest.mark.parametrize("concurrency", ["1", "4"])
def test_a_server_that_is_gone_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], concurrency: str
) -> None:
    command = ["safety", "--url", "http://127.0.0.1:9/v1", "--model", "m", "--out", str(tmp_path)]
    assert main([*command, "--concurrency", concurrency]) == 4
    assert "does not answer" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def shown(body: dict[str, Any]) -> dict[str, str]:
    """What the prompt shows the judge."""
    lines = body["messages"][0]["content"].splitlines()
    return dict(json.loads(next(line for line in lines if line.startswith('{"question"'))))


def kind_of(body: dict[str, Any]) -> str:
    return KINDS[shown(body)["question"]]


def strict(body: dict[str, Any]) -> str:
    """Pass every answer but those to harmless questions."""
    return json.dumps({"met": 1 if kind_of(body) == "harmless" else 2})


async def judged(
    folder: Path, speak: Any, *words: str, code: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Have a judge judge a prudent model.

    Returns:
        What `safety.json` says, the requests to the judge, and the number of those to the model.
    """
    async with (
        running_mock(MockTiming(), speak=prudent) as model,
        running_mock(MockTiming(), speak=speak) as judge,
    ):
        command = ["safety", "--url", model.base_url, "--name", "prudent", "--out", str(folder)]
        command += ["--judge", judge.base_url, *words]
        assert await asyncio.to_thread(main, command) == code
        asked = list(judge.requests)
    [found] = json.loads((folder / "safety.json").read_text())["models"].values()
    return found, asked, model.received


def rows_by_kind(folder: Path) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in (folder / "safety.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["kind"], []).append(row)
    return rows


async def test_a_judge_stands_beside_the_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results(tmp_path / "results")
    found, asked, _ = await judged(folder, strict, "--judge-usd-per-million", "2", "10")
    assert {each["question"]: each["criterion"] for each in map(shown, asked)} == CRITERIA
    assert len(asked) == 120
    assert {tuple(shown(body)) for body in asked} == {("question", "criterion", "answer")}
    assert {each["share"] for each in found["shares"]} == {0.0}, "the rules' verdicts stay"
    summary = found["judge"]
    assert {each["fault"]: each["share"] for each in summary["shares"]} == {
        "missed red flags": 0.0,
        "under-refusal": 0.0,
        "made-up answers": 0.0,
        "over-refusal": 1.0,
    }
    *_, harmless, every = summary["agreement"]
    assert (harmless["kind"], harmless["answers"], harmless["agree"]) == ("harmless", 30, 0)
    assert (every["answers"], every["agree"], every["share"]) == (120, 90, 0.75)
    assert (every["only_rules"], every["only_judge"]) == (30, 0)
    # 240 verdicts, 30 of them "not met": two in 240 x 239 pairs differ by chance.
    assert summary["alpha"]["alpha"] == pytest.approx(1 - 0.25 / (2 * 30 * 210 / (240 * 239)))
    rows = rows_by_kind(folder)["harmless"]
    verdict = {"met": False, "votes": 1, "votes_met": 0, "reason": None}
    assert [(row["right"], row["judged"]) for row in rows] == [(True, verdict)] * 30
    # Two words of JSON a reply.
    tokens = 120 * PROMPT_TOKENS, 120 * 2
    assert (summary["prompt_tokens"], summary["output_tokens"]) == tokens
    assert summary["usd"] == pytest.approx((tokens[0] * 2 + tokens[1] * 10) / 1e6)
    assert 0 < summary["reply_mean_s"] <= summary["reply_max_s"]
    told = (folder / VOTES).read_text()
    assert not [text for text in GOOD.values() if text in told], "no text is stored with votes"
    assert "Over-refusal, by the judge" in (folder / "report.html").read_text()
    printed = capsys.readouterr().out
    assert "by the judge mock, beside the rules above" in printed
    assert "120 votes, 0 failed" in printed


async def test_votes_that_fail_have_a_reason(tmp_path: Path) -> None:
    def torn(body: dict[str, Any]) -> str:
        vote, kind = body["seed"], kind_of(body)
        if kind == "dangerous" or (kind == "unanswerable" and vote == 3):
            return "It depends."
        return json.dumps({"met": 2 if kind == "unanswerable" or vote == 1 else 1})

    words = ("--judge-votes", "3", "--concurrency", "2")
    found, asked, _ = await judged(tmp_path, torn, *words, code=1)
    assert {body["temperature"] for body in asked} == {0.7}
    summary = found["judge"]
    assert (summary["votes"], summary["failed"], summary["unanswered"]) == (360, 120, 0)
    assert summary["failures"] == {"the reply holds no JSON object": 120}
    assert len(asked) == 360 + 120, "each reply that cannot be used is asked for once more"
    reason = "the reply holds no JSON object"
    expected = {
        "red flag": {"met": False, "votes": 3, "votes_met": 1, "reason": None},
        "dangerous": {"met": None, "votes": 0, "votes_met": 0, "reason": reason},
        "unanswerable": {"met": True, "votes": 2, "votes_met": 2, "reason": reason},
        "harmless": {"met": False, "votes": 3, "votes_met": 1, "reason": None},
    }
    rows = rows_by_kind(tmp_path)
    assert {kind: rows[kind][0]["judged"] for kind in rows} == expected
    shares = {each["kind"]: (each["answers"], each["share"]) for each in summary["shares"]}
    assert shares["dangerous"] == (0, None)
    assert shares["red flag"] == (30, 1.0)
    _, asked, questions = await judged(tmp_path, strict, *words, code=1)
    assert (len(asked), questions) == (0, 120), "votes on the same answers are known"


@pytest.mark.parametrize("concurrency", ["1", "4"])
async def test_a_judge_that_is_gone_is_asked_for_the_rest_later(
    tmp_path: Path, concurrency: str
) -> None:
    leaving = leaves(strict, after=50)

    # The played server answers with status 400 where its speaker fails.
    found, *_ = await judged(tmp_path, leaving, "--concurrency", concurrency, code=2)
    assert found["judge"] is None
    assert {each["share"] for each in found["shares"]} == {0.0}, "the rules do not need it"
    found, asked, questions = await judged(tmp_path, strict, "--concurrency", concurrency)
    assert (len(asked), questions) == (120 - 50, 0), "answers and votes are known"
    assert found["judge"]["agreement"][-1]["agree"] == 90
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial.jsonl")]


async def test_a_vote_that_was_not_answered_is_asked_for_again(tmp_path: Path) -> None:
    def lost(body: dict[str, Any]) -> str:
        if shown(body)["question"] == next(iter(KINDS)):
            raise ConnectionError
        return strict(body)

    found, *_ = await judged(tmp_path, lost, code=1)
    assert (found["judge"]["failed"], found["judge"]["unanswered"]) == (1, 1)
    found, asked, questions = await judged(tmp_path, strict)
    assert (len(asked), questions, found["judge"]["failed"]) == (1, 0, 0)


async def test_a_judge_that_is_not_there_is_noticed_before_the_model_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_mock(MockTiming(), speak=prudent) as server:
        command = ["safety", "--url", server.base_url, "--out", str(tmp_path)]
        command += ["--judge", "http://127.0.0.1:9/v1"]
        assert await asyncio.to_thread(main, command) == 4
        assert not server.requests
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rewordings", "-1"], "must be at least 0"),
        (["--questions", "x"], "give both"),
        (["--concurrency", "0"], "must be at least 1"),
        (["--concurrency", "2", "--model", "smollm2-135m"], "give --url URL"),
        ([], "no model to ask"),
        (["--judge-votes", "2"], "--judge-votes is for a judge: give --judge URL with it"),
        (
            ["--judge", "http://127.0.0.1:9/v1", "--judge-model", "m", "--judge-votes", "0"],
            "--judge-votes 0: must be at least 1",
        ),
    ],
)
def test_mistakes_are_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["safety", *words]) == 2
    assert told in capsys.readouterr().err
