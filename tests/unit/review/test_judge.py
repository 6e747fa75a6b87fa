"""What one judge is asked, and the summary of what it says."""

import asyncio
import json
from pathlib import Path

import pytest

from medsweep.cli import main
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.review.judges import NOT_MEASURED
from medsweep.review.votes import VOTES
from reviewed import results

from .conftest import ADAPTER, AXES, BASE, ITEMS, PAIRS, Body, data, fair, judge, record


def first(body: Body) -> str:
    """Prefer what is shown first."""
    return '{"better": "A"}' if "A" in data(body) else fair(body)


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
