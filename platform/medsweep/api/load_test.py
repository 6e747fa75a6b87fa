"""Load-test a server from Python."""

from __future__ import annotations

from collections.abc import Sequence

from medsweep.api.table import Table
from medsweep.errors import InputError


def bench(
    url: str,
    model: str,
    *,
    concurrency: Sequence[int] = (),
    rate: Sequence[float] = (),
    requests: int | None = None,
    repeats: int = 1,
    max_tokens: int = 128,
    prompts: Sequence[str] | None = None,
    seed: int = 0,
    timeout_s: float = 60.0,
    api_key_env: str | None = None,
) -> Table:
    """Load-test a server that speaks OpenAI's API, as `medsweep bench` does.

    Args:
        url: root of the API with its version, such as `http://127.0.0.1:8000/v1`.
        model: name that the server knows the model by.
        concurrency: closed loops: requests kept in flight.
        rate: open loops: requests per second, evenly spaced.
        requests: measured at each load; None takes 5 for each in flight, or 10 s worth, and at
            least 64.
        repeats: independent measurements of each load, interleaved.
        max_tokens: longest answer, in tokens.
        prompts: what is asked; None takes the questions of the corpus that ships.
        seed: of the order of prompts.
        timeout_s: a request that takes longer is a failure, in seconds.
        api_key_env: environment variable that holds the API key.

    Returns:
        One row per load and repeat, with the columns of `benchmark.parquet`. The client's own
        error, measured on this machine at a similar load, stands beside the figures.

    Raises:
        InputError: neither `concurrency` nor `rate` is given, or a number is out of range.
    """
    from medsweep.loadgen.bench import Bench, enough_requests, shuffled_repeats
    from medsweep.loadgen.bench_results import benchmark_row
    from medsweep.loadgen.fleet import Fleet, processes_for
    from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt

    if not concurrency and not rate:
        raise InputError("give `concurrency` (closed loops), `rate` (open loops) or both")
    points = [
        LoadPoint.from_options(
            concurrency=each, requests=requests or enough_requests(concurrency=each)
        )
        for each in concurrency
    ]
    points += [
        LoadPoint.from_options(rate=each, requests=requests or enough_requests(rate=each))
        for each in rate
    ]
    texts = embedded_questions() if prompts is None else prompts
    job = LoadJob(
        base_url=url,
        model=model,
        prompts=tuple(Prompt(str(number), text) for number, text in enumerate(texts)),
        point=points[0],
        seed=seed,
        max_tokens=max_tokens,
        timeout_s=timeout_s,
        api_key_env=api_key_env,
        keep_text=False,
    )
    with Fleet(processes_for(points)) as fleet:
        test = Bench(job, fleet)
        test.calibrate_before(points)
        for point, repeat in shuffled_repeats(points, repeats, seed):
            test.measure(point, repeat)
        test.calibrate_after()
    return Table([benchmark_row(job, each) for each in test.measured])


def embedded_questions() -> list[str]:
    """Return the questions of the corpus that ships."""
    from medsweep.datasets.load import load_sources
    from medsweep.datasets.spec import DatasetSpec

    return [pair.question for source in load_sources(DatasetSpec()) for pair in source.pairs]
