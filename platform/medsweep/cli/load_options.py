"""From the options of a load test to its load points, objectives and prompts."""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from medsweep.api_key import key_of_variable
from medsweep.errors import InputError, UnknownName
from medsweep.loadgen.synthetic import MOST_PROMPTS, Lengths, Tokens, make_prompts
from medsweep.models.templates import PAPER_INSTRUCTION

if TYPE_CHECKING:
    from medsweep.datasets.spec import Pair
    from medsweep.loadgen.objective import Objective
    from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt


def points(options: argparse.Namespace) -> list[LoadPoint]:
    """Return the load points that the options describe; for --find-max the first one to try."""
    from medsweep.loadgen.bench import enough_requests
    from medsweep.loadgen.questions import read_replay
    from medsweep.loadgen.spec import LoadPoint

    if options.repeats < 1:
        raise InputError(f"--repeats must be at least 1, not {options.repeats}")
    if options.find_max and not options.slo:
        raise InputError("--find-max needs an objective: --slo ttft_p95=0.5s")
    if (options.find_max or options.sweep) and options.repeats > 1:
        raise InputError("--find-max and --sweep measure many rates once; leave --repeats out")
    duration_s = None if options.duration is None else _positive("--duration", options.duration)
    if (
        options.arrivals is not None
        and options.rate is None
        and not (options.find_max or options.sweep)
    ):
        raise InputError(
            "--arrivals spaces an open loop: give --rate, --sweep or --find-max with it"
        )
    make = partial(LoadPoint.from_options, warmup=options.warmup, duration_s=duration_s)
    if options.replay is not None:
        due_s = read_replay(options.replay, lambda words: print(words, file=sys.stderr))
        if options.requests is not None:
            due_s = due_s[: (options.warmup or 0) + max(options.requests, 1)]
        return [make(due_s=due_s)]
    given = options.requests
    if options.rate is None and not (options.find_max or options.sweep):
        numbers = _list("--concurrency", options.concurrency or "1", integers=True)
        return [
            make(concurrency=n, requests=enough_requests(concurrency=n) if given is None else given)
            for n in map(int, numbers)
        ]
    arrivals, _, shape = (options.arrivals or "constant").partition(":")
    if shape:
        make = partial(make, shape=_positive("--arrivals", shape))
    return [
        make(
            rate=rate,
            arrivals=arrivals,
            requests=enough_requests(rate=rate) if given is None else given,
        )
        for rate in _list("--rate", options.rate or "1")
    ]


def objectives(options: argparse.Namespace) -> list[Objective]:
    """Return the objectives of `--slo`."""
    from medsweep.loadgen.objective import parse_objective

    return [parse_objective(text) for given in options.slo for text in given.split(",")]


def job(options: argparse.Namespace, points: Sequence[LoadPoint]) -> LoadJob:
    """Return the job that sends the prompts, which are read or made here, to the server."""
    point = points[0]
    count = max(each.warmup_requests + (each.measured_requests or 0) for each in points)
    if options.sweep or options.find_max or any(each.duration_s for each in points):
        count = MOST_PROMPTS  # how many will be asked is not known
    from medsweep.loadgen.spec import LoadJob

    headers = []
    for given in options.header:
        name, colon, value = given.partition(":")
        if not colon or not name.strip():
            raise InputError(f"--header {given!r}: write it as 'NAME: VALUE'")
        headers.append((name.strip(), value.strip()))
    if options.api_key_env is not None:
        key_of_variable(options.api_key_env)
    if not 0 <= options.max_error_rate <= 1:
        raise InputError(f"--max-error-rate is a share from 0 to 1, not {options.max_error_rate}")
    sent = dict(headers)
    if options.model is None:
        from medsweep.loadgen.server import find_model

        options.model = find_model(options.url, api_key_env=options.api_key_env, headers=sent)
    prompts, ignore_eos = _prompts(options, sent, count), False
    instruction = _instruction(options)
    if options.output_tokens is not None:
        ignore_eos = _ignores_eos(options, sent)
    return LoadJob(
        base_url=options.url,
        model=options.model,
        prompts=prompts,
        point=point,
        seed=options.seed,
        max_tokens=options.max_tokens,
        instruction=instruction,
        endpoint=options.endpoint,
        timeout_s=options.timeout,
        api_key_env=options.api_key_env,
        max_error_rate=options.max_error_rate,
        headers=tuple(headers),
        keep_text=graded(options),
        ignore_eos=ignore_eos,
    )


def graded(options: argparse.Namespace) -> bool:
    """Whether answers are graded: where a dataset was named, which has references."""
    return options.dataset is not None


def _instruction(options: argparse.Namespace) -> str | None:
    """Return the system message: the given one, and of a graded dataset that of sweeps."""
    given: str | None = options.instruction
    if given and (options.endpoint != "chat" or options.input_tokens is not None):
        raise InputError(
            "--instruction is a chat's system message before a question: leave it out with "
            "--endpoint completions and with --input-tokens"
        )
    if given is None and options.endpoint == "chat" and graded(options):
        return PAPER_INSTRUCTION
    return given or None


def _ignores_eos(options: argparse.Namespace, headers: dict[str, str]) -> bool:
    """Whether the server can be told to answer up to the limit."""
    from medsweep.loadgen.server import count_tokens

    try:
        count_tokens(
            options.url,
            options.model,
            "Count.",
            endpoint=options.endpoint,
            api_key_env=options.api_key_env,
            headers=headers,
            ignore_eos=True,
        )
    except InputError:
        return False
    return True


def _prompts(
    options: argparse.Namespace, headers: dict[str, str], count: int
) -> tuple[Prompt, ...]:
    from medsweep.loadgen.questions import read_prompts
    from medsweep.loadgen.spec import Prompt

    answers = None
    if options.output_tokens is not None:
        answers = Lengths.parse("--output-tokens", options.output_tokens)
        options.max_tokens = answers.high
    if options.input_tokens is not None:
        return _synthetic(options, headers, answers, count)
    if options.prompts is not None:
        prompts = read_prompts(options.prompts)
    else:
        prompts = tuple(Prompt(pair.question_id, pair.question) for pair in pairs(options))
    if answers is None:
        return prompts
    rng = random.Random(options.seed)  # noqa: S311 lengths, not secrets
    return tuple(replace(each, max_tokens=answers.draw(rng)) for each in prompts)


def _synthetic(
    options: argparse.Namespace, headers: dict[str, str], answers: Lengths | None, count: int
) -> tuple[Prompt, ...]:
    from medsweep.loadgen.server import count_tokens

    lengths = Lengths.parse("--input-tokens", options.input_tokens)

    def counted(text: str) -> int:
        return count_tokens(
            options.url,
            options.model,
            text,
            endpoint=options.endpoint,
            api_key_env=options.api_key_env,
            headers=headers,
        )

    tokens = Tokens.measure(counted, options.seed)
    return make_prompts(tokens, lengths, answers, count=count, seed=options.seed)


def pairs(options: argparse.Namespace) -> list[Pair]:
    """Return the pairs of the dataset: of `--dataset`, or of the corpus that ships."""
    from medsweep.datasets.catalog import DATASETS
    from medsweep.datasets.load import load_sources
    from medsweep.datasets.spec import DatasetSpec

    name = options.dataset or "embedded"
    if name not in DATASETS:
        raise UnknownName("dataset", name, DATASETS)
    try:
        spec = DatasetSpec(name=name)
    except ValueError as error:
        raise InputError(
            f"--dataset {name} cannot be asked by its name ({error}); "
            "write its questions to a file for --prompts"
        ) from None
    return [pair for source in load_sources(spec) for pair in source.pairs]


def processes(text: str) -> int:
    """Return the number of load generator processes that `--processes` gives."""
    return int(_list("--processes", text, integers=True)[0])


def _list(option: str, text: str, *, integers: bool = False) -> list[float]:
    numbers = [_positive(option, part) for part in text.split(",")]
    if integers and any(number != int(number) for number in numbers):
        raise InputError(f"{option} {text}: must be whole numbers above 0, such as 1,8")
    if len(set(numbers)) != len(numbers):
        raise InputError(f"{option} {text}: each load once; --repeats measures them several times")
    return numbers


def _positive(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{option} {text}: must be numbers above 0, such as 1,8")
    return number
