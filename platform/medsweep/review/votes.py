"""The votes of a judge: each is asked for once, checked, and kept for the next run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import MedSweepError
from medsweep.json_lines import numbered_lines, parse
from medsweep.loadgen.server import chat
from medsweep.review.judge import Ballot, Judge
from medsweep.review.replies import read_choice, read_ratings

VOTES = "judge-votes.jsonl"
"""In the results' folder: one line per vote, without any text of an answer or a reply."""

_UNREACHABLE = 3
"""Failed requests in a row, beside those in flight, that end the run: the server is gone."""

_TRIES = 2
"""Replies after which a vote has failed: the second one is told what is wrong with the first."""

Vote = dict[str, Any]


def cast(judge: Judge, ballot: Ballot, vote: Vote, clock: Clock) -> Vote:
    """Ask once; again if the reply cannot be used; and return the vote, failed if it still cannot.

    Args:
        judge: who is asked.
        ballot: what is asked.
        vote: a failed one; replies are added to it as they come, so that their cost is known
            even if the server fails before the next.
        clock: what replies are timed with.

    Raises:
        MedSweepError: the server does not answer, or refuses; the message has no text of the
            prompt.
    """
    messages = [{"role": "user", "content": ballot.prompt}]
    for _ in range(_TRIES):
        began_s = clock.now()
        reply = chat(
            judge.url,
            judge.model,
            messages,
            max_tokens=judge.max_tokens,
            temperature=judge.temperature,
            seed=judge.seed + ballot.vote,
            api_key_env=judge.api_key_env,
            timeout_s=judge.timeout_s,
        )
        vote["replies"].append(
            {
                "seconds": clock.now() - began_s,
                "prompt_tokens": reply.prompt_tokens,
                "output_tokens": reply.output_tokens,
            }
        )
        try:
            if ballot.kind == "rate":
                vote["ratings"] = read_ratings(reply.text, judge.rubric)
            else:
                vote["better"] = read_choice(reply.text)
        except ValueError as fault:
            vote["reason"] = str(fault)
            if reply.text.strip():
                again = f"That cannot be used: {fault}. Reply again, with the JSON object alone."
                messages = [
                    *messages[:1],
                    {"role": "assistant", "content": reply.text},
                    {"role": "user", "content": again},
                ]
        else:
            return {**vote, "status": "ok", "reason": None}
    return vote


def _failed(ballot: Ballot) -> Vote:
    return {
        "key": ballot.key,
        "kind": ballot.kind,
        "items": list(ballot.items),
        "vote": ballot.vote,
        "status": "failed",
        "reason": "",
        "replies": [],
    }


def vote_on(
    judge: Judge,
    ballots: Sequence[Ballot],
    folder: Path,
    *,
    concurrency: int = 1,
    clock: Clock | None = None,
    tell: Callable[[], None] = lambda: None,
) -> list[Vote]:
    """Have the judge vote, and return the votes, those of earlier runs included.

    Each vote is appended to `judge-votes.jsonl` as soon as it is cast; an interrupted run continues
    after the last one. Votes that failed because the server did not answer are requested again;
    those whose replies cannot be used stay failed, with the reason.

    Args:
        judge: who is asked.
        ballots: what is asked.
        folder: of the results.
        concurrency: most requests at a time.
        clock: what replies are timed with; None for the machine's.
        tell: called for each vote, those of earlier runs included.

    Raises:
        MedSweepError: several requests in a row failed.
    """
    clock = clock or MonotonicClock()
    known = _stored(folder)
    votes = {
        ballot.key: known[ballot.key]
        for ballot in ballots
        if ballot.key in known and _is_final(known[ballot.key])
    }
    for _ in votes:
        tell()
    todo = iter([ballot for ballot in ballots if ballot.key not in votes])
    running: dict[Future[Vote], Vote] = {}
    failed_in_a_row = 0
    with ThreadPoolExecutor(concurrency) as pool, (folder / VOTES).open("ab") as file:

        def store(vote: Vote) -> None:
            # What a vote that failed has cost stays with it.
            vote["replies"] = [*known.get(vote["key"], {}).get("replies", ()), *vote["replies"]]
            votes[vote["key"]] = vote
            # In one write, and behind a line of an earlier run that was cut off.
            file.write(b"\n" + json.dumps(vote).encode() + b"\n")
            file.flush()

        def start() -> None:
            if (ballot := next(todo, None)) is not None:
                vote = _failed(ballot)
                running[pool.submit(cast, judge, ballot, vote, clock)] = vote

        for _ in range(concurrency):
            start()
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    vote = running.pop(future)
                    try:
                        store(future.result())
                        failed_in_a_row = 0
                    except MedSweepError as error:
                        store({**vote, "reason": str(error), "unanswered": True})
                        failed_in_a_row += 1
                        # A server that starts anew has dropped all requests in flight at once.
                        if failed_in_a_row == _UNREACHABLE + concurrency - 1:
                            raise
                    tell()
                    start()
        finally:
            # What is being answered is kept, however this ends.
            for future in wait(running).done:
                if (fault := future.exception()) is None:
                    store(future.result())
                elif running[future]["replies"]:
                    store({**running[future], "reason": str(fault), "unanswered": True})
    # The ids on the sheet of an earlier run may have been others.
    return [{**votes[ballot.key], "items": list(ballot.items)} for ballot in ballots]


def _is_final(vote: Vote) -> bool:
    """Whether a vote stays as it is: it is usable, or was asked for as often as it may be."""
    if vote["status"] == "ok":
        return True
    return len(vote["replies"]) >= _TRIES and not vote.get("unanswered")


def _stored(folder: Path) -> dict[str, Vote]:
    """Return the votes of earlier runs, the last of each, without a line that was cut off."""
    path, votes = folder / VOTES, {}
    if path.is_file():
        with path.open("rb") as file:
            for _, line in numbered_lines(file):
                with suppress(ValueError):
                    vote = parse(line)
                    if isinstance(vote, dict) and {"key", "status", "replies"} <= set(vote):
                        votes[str(vote["key"])] = vote
    return votes
