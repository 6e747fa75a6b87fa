import math
from typing import Any

import pytest
import torch

from medsweep.finetune import ddp as module
from medsweep.finetune.ddp import Ddp
from medsweep.finetune.session import make_strategy
from medsweep.finetune.strategy import MAX_GRADIENT_NORM, trained
from medsweep.finetune.team import ALONE, Team
from medsweep.finetune.zero import _config
from medsweep.models.precision import TrainingPrecision

FLOAT32 = TrainingPrecision("float32")
SCALED = TrainingPrecision("float32", grad_scaling=True)


class Parabola(torch.nn.Module):
    """Its nats are least where its weights are 3."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2,), start))
        self.other = torch.nn.Parameter(torch.tensor(5.0), requires_grad=False)


@pytest.fixture(autouse=True)
def parabola_nats(monkeypatch: pytest.MonkeyPatch) -> None:
    def nats(model: Any, batch: Any) -> torch.Tensor:
        return ((model.weight - 3.0) ** 2 * batch["by"]).sum()

    monkeypatch.setattr(module, "answer_nats", nats)


def batch(by: float = 1.0) -> dict[str, torch.Tensor]:
    return {"by": torch.tensor(by)}


def steps(strategy: Ddp, count: int, rate: float = 0.2, first: int = 0) -> None:
    for number in range(first, first + count):
        # Gradients of changing size, small enough not to be clipped.
        strategy.learn(batch(0.1 / (1 + number)), 1.0, last=True)
        strategy.update(rate)


def test_only_what_requires_a_gradient_is_trained() -> None:
    model = Parabola()
    steps(Ddp(model, ALONE, FLOAT32), 100)
    assert model.weight.tolist() == pytest.approx([3.0, 3.0], abs=0.2)
    assert float(model.other) == 5.0
    assert list(trained(model)) == ["weight"]


def test_micro_batches_add_up_to_one_step() -> None:
    whole, split = Parabola(), Parabola()
    one, two = Ddp(whole, ALONE, FLOAT32), Ddp(split, ALONE, FLOAT32)
    assert one.learn(batch(4.0), 0.25, last=True) == pytest.approx(72.0)
    assert two.learn(batch(1.0), 0.25, last=False) == pytest.approx(18.0)
    assert two.learn(batch(3.0), 0.25, last=True) == pytest.approx(54.0)
    assert one.update(0.1) == pytest.approx(two.update(0.1))
    assert torch.equal(whole.weight, split.weight)


def test_the_norm_is_of_the_gradients_before_they_were_clipped() -> None:
    model = Parabola()
    strategy = Ddp(model, ALONE, FLOAT32)
    strategy.learn(batch(), 1.0, last=True)
    norm = strategy.update(0.1)
    assert norm == pytest.approx(math.hypot(6.0, 6.0))
    assert norm > MAX_GRADIENT_NORM


def test_gradients_that_are_no_numbers_change_nothing() -> None:
    model = Parabola()
    strategy = Ddp(model, ALONE, FLOAT32)
    strategy.learn(batch(float("nan")), 1.0, last=True)
    assert math.isnan(strategy.update(0.1) or 0.0)
    assert model.weight.tolist() == [0.0, 0.0]


def test_its_state_can_be_taken_up_elsewhere() -> None:
    whole, first = Parabola(), Parabola()
    steps(Ddp(whole, ALONE, FLOAT32), 6)
    begun = Ddp(first, ALONE, FLOAT32)
    steps(begun, 3)
    second = Parabola()
    second.weight.data.copy_(first.weight)
    resumed = Ddp(second, ALONE, FLOAT32)
    state = begun.state()
    assert set(state) == {
        "weight.weight",
        "exp_avg.weight",
        "exp_avg_sq.weight",
        "updates",
        "scale",
        "growth",
    }
    assert float(state["updates"]) == 3
    assert torch.equal(state["weight.weight"], first.weight)
    resumed.restore(state)
    steps(resumed, 3, first=3)
    assert torch.equal(whole.weight, second.weight)
    # Without its state it goes elsewhere.
    third = Parabola()
    third.weight.data.copy_(first.weight)
    steps(Ddp(third, ALONE, FLOAT32), 3, first=3)
    assert not torch.allclose(whole.weight, third.weight, atol=1e-3)


def test_the_state_before_the_first_step_can_be_taken_up() -> None:
    model = Parabola()
    strategy = Ddp(model, ALONE, FLOAT32)
    strategy.restore(strategy.state())
    steps(strategy, 1)
    assert model.weight[0] > 0


def scale(strategy: Ddp) -> float:
    return float(strategy.state()["scale"])


def test_gradients_that_overflow_their_scale_cost_one_step() -> None:
    model = Parabola()
    strategy = Ddp(model, ALONE, SCALED)
    strategy.learn(batch(1e34), 1.0, last=True)  # times 2^16 it is no float32 any more
    assert strategy.update(0.1) is None
    assert model.weight.tolist() == [0.0, 0.0]
    assert scale(strategy) == 2**15
    strategy.learn(batch(0.01), 1.0, last=True)
    assert strategy.update(0.1) == pytest.approx(math.hypot(0.06, 0.06))
    assert model.weight[0] > 0
    assert float(strategy.state()["updates"]) == 1


def test_gradients_that_overflow_at_any_scale_are_said() -> None:
    strategy = Ddp(Parabola(), ALONE, SCALED)
    norms = []
    for _ in range(17):
        strategy.learn(batch(float("inf")), 1.0, last=True)
        norms.append(strategy.update(0.1))
    assert norms[:16] == [None] * 16
    assert norms[16] is not None
    assert not math.isfinite(norms[16])


def test_a_scale_is_taken_up() -> None:
    begun = Ddp(Parabola(), ALONE, SCALED)
    begun.learn(batch(1e34), 1.0, last=True)
    begun.update(0.1)
    steps(begun, 2)
    resumed = Ddp(Parabola(), ALONE, SCALED)
    resumed.restore(begun.state())
    assert scale(resumed) == 2**15
    steps(resumed, 1, first=2)
    assert int(resumed.state()["growth"]) == 3


@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3"])
def test_one_worker_has_nothing_to_spread(name: Any) -> None:
    assert isinstance(make_strategy(name, Parabola(), ALONE, FLOAT32), Ddp)


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_s_buckets_have_the_size_that_is_counted(stage: int) -> None:
    sharding = _config(stage, FLOAT32)["zero_optimization"]
    assert sharding["reduce_bucket_size"] == sharding["allgather_bucket_size"] == 2**24
    assert sharding["stage3_max_live_parameters"] == sharding["stage3_max_reuse_distance"] == 2**29
    assert not sharding["overlap_comm"]  # it would take a second buffer


def test_team_of_one() -> None:
    assert Team.current().size == 1
    assert ALONE.leads
    assert ALONE.share([1, 2, 3]) == [1, 2, 3]
    assert ALONE.gather([1, 2, 3], 3) == [1, 2, 3]
    assert ALONE.total(1.5, 2.0) == [1.5, 2.0]
    ALONE.wait()


def test_a_team_shares_evenly() -> None:
    shares = [Team(rank, 2).share([1, 2, 3, 4, 5]) for rank in (0, 1)]
    assert shares == [[1, 3, 5], [2, 4, 1]]
