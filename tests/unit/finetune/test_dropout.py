import pytest
import torch

from medsweep.finetune.dropout import cheapen_dropout, drop


def cheap(share: float) -> torch.nn.Dropout:
    layer = torch.nn.Dropout(share)
    cheapen_dropout(layer)
    assert layer.forward.func is drop  # type: ignore[attr-defined]
    return layer


@pytest.mark.parametrize("share", [0.05, 0.25, 0.9])
def test_the_share_is_dropped_and_the_rest_scaled_up(share: float) -> None:
    torch.manual_seed(1)
    ones = torch.ones(401, 3, 333)  # no multiple of four
    out = cheap(share)(ones)
    deviation = (share * (1 - share) / ones.numel()) ** 0.5
    assert (out == 0).double().mean().item() == pytest.approx(share, abs=4 * deviation)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)])


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (cheap(0.5)(torch.ones(1_000_000)) != 0).double() - 0.5
    for apart in (1, 2, 3, 4, 8):
        together = (kept[apart:] * kept[:-apart]).mean().item() * 4
        assert abs(together) < 0.005  # five standard deviations


def test_gradients_go_where_the_input_went_and_a_seed_repeats_it() -> None:
    layer, given = cheap(0.25), torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    out = layer(given)
    out.sum().backward()
    assert given.grad is not None
    torch.testing.assert_close(given.grad * given, out)
    torch.manual_seed(3)
    assert torch.equal(layer(given), out)


def test_nothing_is_dropped_when_the_model_is_asked() -> None:
    given = torch.randn(9)
    assert torch.equal(cheap(0.25).eval()(given), given)
