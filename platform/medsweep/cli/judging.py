"""The judge that a verb asks: its options, and what its votes cost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_api_key, positive
from medsweep.errors import InputError

if TYPE_CHECKING:
    from medsweep.review.judge import Judge
    from medsweep.review.rubric import Rubric

SHOWN_REASONS = 5


def add_judge(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add the options that say which model of a judge's server votes, and how.

    Args:
        parser: of the verb, which has an option of its own for the server.
        prefix: of the flags, such as `judge-`.
    """
    parser.add_argument(
        f"--{prefix}model",
        metavar="NAME",
        help="name of the judge's model at its server; default: the only one there",
    )
    parser.add_argument(
        f"--{prefix}votes",
        type=int,
        default=1,
        metavar="N",
        help="votes on each answer; default: 1",
    )
    parser.add_argument(
        f"--{prefix}temperature",
        type=float,
        metavar="T",
        help="temperature of the judge; default: 0, and 0.7 with several votes",
    )
    parser.add_argument(
        f"--{prefix}max-tokens",
        type=int,
        default=512,
        metavar="N",
        help="longest reply of the judge; default: 512",
    )
    parser.add_argument(
        f"--{prefix}timeout",
        type=positive,
        default=120.0,
        metavar="S",
        help="of a request to the judge; default: 120",
    )
    add_api_key(parser, prefix)
    parser.add_argument(
        f"--{prefix}usd-per-million",
        type=positive,
        nargs=2,
        metavar=("PROMPT", "REPLY"),
        help="price of 1,000,000 tokens of the judge's prompts and of its replies; without it cost "
        "is not known",
    )


def judge_of(
    options: argparse.Namespace, url: str, rubric: Rubric, *, seed: int, prefix: str = ""
) -> Judge:
    """Return the judge that the options describe; its server is asked for the model's name.

    Args:
        options: of `add_judge`.
        url: root of the judge's API.
        rubric: what is asked of each answer.
        seed: of the orders.
        prefix: of the flags.

    Raises:
        InputError: an option is out of range, or the server has several models.
        EnvironmentFault: the server does not answer.
    """
    from medsweep.loadgen.server import find_model
    from medsweep.review.judge import Judge

    given = _given(options, prefix)
    for name in ("votes", "max-tokens"):
        if given[name] < 1:
            raise InputError(f"--{prefix}{name} {given[name]}: must be at least 1")
    temperature = given["temperature"]
    if temperature is None:
        temperature = 0.0 if given["votes"] == 1 else 0.7
    if not 0 <= temperature <= 2:
        raise InputError(f"--{prefix}temperature {temperature}: must be from 0 to 2")
    api_key_env = given["api-key-env"]
    return Judge(
        url=url,
        model=given["model"] or find_model(url, api_key_env=api_key_env),
        rubric=rubric,
        votes=given["votes"],
        seed=seed,
        temperature=temperature,
        max_tokens=given["max-tokens"],
        api_key_env=api_key_env,
        timeout_s=given["timeout"],
    )


def refuse_unused(options: argparse.Namespace, needed: str, prefix: str) -> None:
    """Refuse options of a judge where no server is named.

    Args:
        options: of `add_judge`.
        needed: what names the server.
        prefix: of the flags.

    Raises:
        InputError: there are some.
    """
    parser = argparse.ArgumentParser()
    add_judge(parser, prefix)
    defaults = _given(parser.parse_args([]), prefix)
    given = [name for name, value in _given(options, prefix).items() if value != defaults[name]]
    if given:
        raise InputError(f"--{prefix}{given[0]} is for a judge: give {needed} with it")


def _given(options: argparse.Namespace, prefix: str) -> dict[str, Any]:
    """Return the values of a judge's options by the name of the flag without its prefix."""
    names = (
        "model",
        "votes",
        "temperature",
        "max-tokens",
        "timeout",
        "api-key-env",
        "usd-per-million",
    )
    return {name: getattr(options, f"{prefix}{name}".replace("-", "_")) for name in names}


def print_votes(summary: Mapping[str, Any]) -> None:
    """Print how many votes could be used, why others failed, and what the replies cost.

    Args:
        summary: of `review.judged`.
    """
    print(f"\n{summary['votes']} votes, {summary['failed']} failed")
    for kind, counts in summary["usable"].items():
        print(
            f"  {kind}: {counts['at_once']} of {counts['votes']} had a reply that can be used at "
            f"once, {counts['asked_again']} more when asked again"
        )
    for reason, count in list(summary["failures"].items())[:SHOWN_REASONS]:
        print(f"  {count} times: {reason}")
    tokens = [summary[name] for name in ("prompt_tokens", "output_tokens")]
    counted = "tokens not counted" if None in tokens else "{:,} + {:,} tokens".format(*tokens)
    mean_s, usd = summary["reply_mean_s"], summary["usd"]
    print(
        f"{summary['replies']} replies, {'-' if mean_s is None else f'{mean_s:.2f}'} s each; "
        f"{counted}; {'price not known' if usd is None else f'{usd:.4f} USD'}"
    )
