"""What was chosen by the questions that are reported is said beside their figures."""

import json
from pathlib import Path
from typing import Any

from medsweep.report.page import write_report
from medsweep.report.tables.training import selection
from medsweep.results.reader import TrainingRecord

RECIPE = {"rank": 16, "alpha": 32, "dropout": 0.05, "max_seq_length": 512, "epochs": 9}
BEST = {**RECIPE, "epochs": None, "trial": "t", "token_f1": 0.4}
del BEST["epochs"]
SEARCH = {
    "metric": "token_f1",
    "trials": {"finished": 5, "stopped": 3},
    "best": BEST,
    "lead_over_mean_trial": 0.0312,
}


def record(recipe: dict[str, Any], search: dict[str, Any], losses: list[float]) -> TrainingRecord:
    rows = tuple({"epoch": epoch, "eval_loss": loss} for epoch, loss in enumerate(losses))
    return TrainingRecord("m", "m-k", "sha", rows, recipe, search)


def test_a_fixed_recipe_without_early_stopping_selects_nothing() -> None:
    assert selection(record(RECIPE, {}, [3.0, 2.0])) == ()


def test_early_stopping_is_said_with_the_range_of_what_it_looked_at() -> None:
    [sentence] = selection(record({**RECIPE, "patience": 2}, {}, [3.0, 2.0, 2.25, 2.5]))
    assert sentence.startswith("Training stopped after epoch 3 of 9 by the held-out loss")
    assert "ranged over 1.000 nats" in sentence


def test_a_recipe_that_was_searched_for_has_the_lead_of_its_search() -> None:
    [sentence] = selection(record(RECIPE, SEARCH, [3.0]))
    assert "best of 8 that were tried" in sentence
    assert "up to 0.031 of its Token F1" in sentence
    # Another recipe than the best was not chosen by the search.
    assert selection(record({**RECIPE, "rank": 8}, SEARCH, [3.0])) == ()


def test_the_page_says_it_above_the_table_of_quality(folder: Path, small: Any) -> None:
    adapter = folder / "adapters" / f"{small.llama}-k"
    (adapter / "provenance.json").write_text(json.dumps({"recipe": {**RECIPE, "patience": 1}}))
    search = folder / "search" / small.llama
    search.mkdir(parents=True)
    (search / "search.json").write_text(json.dumps(SEARCH))
    page = write_report(folder).read_text()
    section = page[page.index('id="quality"') :]
    above = section[: section.index("<table>")]
    assert f"{small.llama}: Training stopped after epoch 2 of 9" in above
    assert f"{small.llama}: Its recipe is the best of 8" in above
    assert f"{small.distil}: " not in above
