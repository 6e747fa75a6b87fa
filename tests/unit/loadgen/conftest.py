from collections.abc import Callable

import pytest

from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt

MakeJob = Callable[..., LoadJob]


@pytest.fixture
def make_job() -> MakeJob:
    """A job for a server at `base_url`; keywords replace the defaults."""

    def make(base_url: str, point: LoadPoint | None = None, **changes: object) -> LoadJob:
        defaults: dict[str, object] = {
            "prompts": tuple(Prompt(f"q{n}", f"question {n}?") for n in range(4)),
            "seed": 1,
            "max_tokens": 32,
            "timeout_s": 5.0,
        }
        point = point or LoadPoint(concurrency=1, requests=1, warmup=0)
        return LoadJob(base_url=base_url, model="mock", point=point, **(defaults | changes))

    return make
