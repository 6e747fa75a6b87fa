import asyncio
from collections import Counter
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from medsweep.serving.engines.continuous import next_tokens  # noqa: E402
from medsweep.serving.engines.detokenize import TextStream  # noqa: E402
from medsweep.serving.engines.request_state import RequestState  # noqa: E402
from medsweep.serving.protocol import Generation  # noqa: E402

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def row(**fields: Any) -> RequestState:
    request = Generation("m", None, "x", 9, **fields)
    loop = asyncio.new_event_loop()
    loop.close()
    return RequestState(request, [1], frozenset(), None, TextStream(None), loop)


def drawn(times: int, **fields: Any) -> Counter[int]:
    one, generators = row(**fields), {}
    return Counter(next_tokens([0], LOGITS[None], [one], generators)[0] for _ in range(times))


def test_greedy_takes_the_likeliest() -> None:
    assert drawn(3) == {0: 3}


def test_draws_follow_the_shares() -> None:
    counts = drawn(4000, temperature=1.0, seed=5)
    shares = [counts[token] / 4000 for token in range(4)]
    # Standard errors of the four shares are at most 0.008.
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.032)


def test_temperature_sharpens() -> None:
    # At 0.5 the shares are squared: 0.5 becomes 0.25 of 0.365.
    counts = drawn(4000, temperature=0.5, seed=5)
    assert counts[0] / 4000 == pytest.approx(0.25 / 0.365, abs=0.032)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {0}), (0.5, {0}), (0.79, {0, 1}), (0.9, {0, 1, 2})]
)
def test_top_p_keeps_the_likeliest_that_reach_it(top_p: float, kept: set[int]) -> None:
    assert set(drawn(400, temperature=1.0, top_p=top_p, seed=5)) == kept


def test_a_row_s_draws_do_not_depend_on_its_neighbours() -> None:
    def draws(neighbours: int) -> list[int]:
        one = row(temperature=1.0, seed=9)
        rows = [*(row(temperature=1.0) for _ in range(neighbours)), one]
        generators: dict[RequestState, Any] = {}
        likeliest = [0] * len(rows)
        logits = LOGITS.expand(len(rows), -1)
        return [next_tokens(likeliest, logits, rows, generators)[-1] for _ in range(20)]

    assert draws(0) == draws(3)
