"""Votes of a judge: asked again where a reply cannot be used, kept, and continued."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.errors import MedSweepError
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.server import chat
from medsweep.review.votes import VOTES

from .conftest import BASE, ITEMS, PAIRS, Body, data, fair, judge, votes


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
