import json
from dataclasses import replace

import pytest

from medsweep.errors import InputError
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt, load_in_words


@pytest.mark.parametrize(
    ("point", "name", "warmup"),
    [
        (LoadPoint(concurrency=4), "c4", 4),
        (LoadPoint(concurrency=4, warmup=9), "c4", 9),
        (LoadPoint(concurrency=4, warmup=0), "c4", 0),
        (LoadPoint(rate=2.5, arrivals="poisson"), "r2.5-poisson", 3),
        (LoadPoint(rate=20), "r20-constant", 20),
        (LoadPoint(rate=8, arrivals="burst"), "r8-burst10", 8),
        (LoadPoint(rate=8, arrivals="burst", shape=40), "r8-burst40", 8),
        (LoadPoint(rate=8, arrivals="gamma"), "r8-gamma0.5", 8),
        (LoadPoint(rate=8, arrivals="gamma", shape=2), "r8-gamma2", 8),
        (LoadPoint(due_s=(0.0, 0.5)), "replay-2f720537", 0),
        (LoadPoint(due_s=(0.0, 0.25)), "replay-9ae9510c", 0),
    ],
)
def test_name_and_warmup(point: LoadPoint, name: str, warmup: int) -> None:
    assert (point.name, point.warmup_requests) == (name, warmup)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "exactly one"),
        ({"concurrency": 1, "rate": 1.0}, "exactly one"),
        ({"concurrency": 0}, "concurrency"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": 1.0, "arrivals": "uniform"}, "poisson"),
        ({"rate": 1.0, "arrivals": "gamma", "shape": 0.0}, "shape"),
        ({"rate": 1.0, "arrivals": "poisson", "shape": 2.0}, "not of poisson"),
        ({"concurrency": 1, "shape": 2.0}, "shape"),
        ({"concurrency": 1, "duration_s": 0.0}, "duration"),
        ({"due_s": (0.0, 1.0), "warmup": 2}, "nothing to measure"),
        ({"due_s": (0.0, 2.0, 1.0)}, "ascending"),
        ({"due_s": (0.0,), "rate": 1.0}, "exactly one"),
        ({"concurrency": 1, "requests": 0}, "requests"),
        ({"concurrency": 1, "warmup": -1}, "warmup"),
    ],
)
def test_point_that_makes_no_sense(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LoadPoint(**fields)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"prompts": ()}, "prompt"),
        ({"base_url": "127.0.0.1:8000"}, "http://"),
        ({"endpoint": "embeddings"}, "embeddings"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"headers": (("X-A", "b\r\nX-C: d"),)}, "one line"),
        ({"headers": (("X-A", "ä"),)}, "ASCII"),
        ({"headers": (("X A", "a"),)}, "character that none has"),
        ({"headers": (("X-A", "a\x00"),)}, "character that none has"),
        ({"timeout_s": float("nan")}, "above 0"),
        ({"timeout_s": float("inf")}, "above 0"),
        ({"base_url": "http://x/a b"}, "without spaces"),
        ({"base_url": "http://ä/v1"}, "ASCII"),
    ],
)
def test_job_that_makes_no_sense(make_job, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        make_job(**({"base_url": "http://x/v1"} | changes))


def test_url_of_each_endpoint(make_job) -> None:
    assert make_job("http://x/v1/").url == "http://x/v1/chat/completions"
    assert make_job("http://x/v1", endpoint="completions").url == "http://x/v1/completions"


def test_job_survives_json() -> None:
    job = LoadJob(
        base_url="http://127.0.0.1:8000/v1",
        model="m",
        prompts=(Prompt("a", "Ä?"), Prompt("b", "two\nlines")),
        point=LoadPoint(rate=2.5, arrivals="poisson", requests=5, warmup=0),
        seed=3,
        max_tokens=16,
        temperature=0.7,
        endpoint="completions",
        timeout_s=9.5,
        api_key_env="KEY",
        max_error_rate=0.1,
        headers=(("X-A", "b"),),
        keep_text=False,
        shard=1,
        shards=2,
        start_s=1.5,
        objectives=(Objective("ttft", "p95", 0.5),),
    )
    replay = replace(job, point=LoadPoint(due_s=(0.0, 0.5)), objectives=())
    assert LoadJob.from_json(json.loads(json.dumps(replay.to_json()))) == replay
    assert LoadJob.from_json(json.loads(json.dumps(job.to_json()))) == job


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("c1", "1 client"),
        ("c16", "16 clients"),
        ("r2-constant", "2 requests/s"),
        ("r1-constant", "1 request/s"),
        ("r2.5-poisson", "2.5 requests/s (Poisson)"),
        ("r2-gamma0.5", "2 requests/s (gamma, shape 0.5)"),
        ("r8-burst40", "8 requests/s (bursts of 40)"),
        ("replay-0a1b2c3d", "replay-0a1b2c3d"),
        ("calm", "calm"),
    ],
)
def test_a_load_point_in_words(name: str, words: str) -> None:
    assert load_in_words(name) == words
