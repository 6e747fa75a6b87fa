from typing import Any

from medsweep.search.effects import main_effects
from medsweep.search.figure import search_figure
from medsweep.search.tradeoff import trade_off


def rows() -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            "alpha": alpha,
            "token_f1": 0.2 + rank / 100 + alpha / 10_000 * repeat,
            "tokens_per_s": 1000.0 / rank,
            "peak_gpu_memory_bytes": None,
        }
        for rank in (4, 8)
        for alpha in (8, 16)
        for repeat in (0, 1)
    ]


def test_the_trade_off_and_a_panel_for_each_parameter() -> None:
    trade = trade_off(rows(), "token_f1")
    effects = main_effects(rows(), ("rank", "alpha"), "token_f1")
    figure = search_figure("Search", rows(), trade, effects, "token_f1")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["token f1", "rank: matters", "alpha: no effect shown"]
    assert figure.axes[0].get_xlabel() == "training tokens per second"
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["4", "8"]


def test_nothing_finished_is_drawn_too() -> None:
    figure = search_figure("Search", [], None, [], "token_f1")
    assert len(figure.axes) == 2
