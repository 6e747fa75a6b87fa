from itertools import islice

import pytest

from medsweep.loadgen.prompt_order import prompt_order
from medsweep.loadgen.spec import Prompt

PROMPTS = tuple(Prompt(f"q{n}", "?") for n in range(10))


def ids(warmup: int, seed: int, count: int) -> list[str]:
    return [prompt.question_id for prompt in islice(prompt_order(PROMPTS, warmup, seed), count)]


@pytest.mark.parametrize("warmup", [0, 3, 10, 13])
def test_measured_requests_begin_a_pass(warmup: int) -> None:
    measured = ids(warmup, seed=1, count=warmup + 20)[warmup:]
    everything = sorted(prompt.question_id for prompt in PROMPTS)
    assert sorted(measured[:10]) == sorted(measured[10:]) == everything


def test_passes_and_repeats_differ_in_order() -> None:
    first = ids(0, seed=1, count=20)
    assert first[:10] != first[10:]
    assert first != ids(0, seed=2, count=20)
    assert first == ids(0, seed=1, count=20)
