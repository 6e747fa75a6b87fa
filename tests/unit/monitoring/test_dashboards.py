"""The dashboards as Grafana gets them; what their queries return is tested with Prometheus."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from crds import ROOT
from medsweep.monitoring.dashboards import NAMES, dashboards
from medsweep.monitoring.dashboards.panels import FILTER
from medsweep.monitoring.prometheus import LABELS, LIVE_GAUGES
from medsweep.monitoring.rules import FAILED_SHARE, THROTTLED_SHARE
from medsweep.results.schema import QUALITIES

FILES = ROOT / "helm" / "medsweep" / "dashboards"

Dashboard = dict[str, Any]


@pytest.fixture(scope="module")
def made() -> dict[str, Dashboard]:
    return dashboards()


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """All panels, those in folded rows too."""
    return [
        panel
        for each in dashboard["panels"]
        for panel in (each["panels"] if each["type"] == "row" else [each])
    ]


def queries(dashboard: Dashboard) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(panel, target) for panel in panels(dashboard) for target in panel["targets"]]


def test_the_chart_ships_what_is_built(made: dict[str, Dashboard]) -> None:
    assert {path.stem for path in FILES.glob("*.json")} == set(NAMES)
    for name, dashboard in made.items():
        assert json.loads((FILES / f"{name}.json").read_text()) == dashboard


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows(name: str, made: dict[str, Dashboard]) -> None:
    dashboard = made[name]
    assert dashboard["uid"] == f"medsweep-{name}"
    shown = panels(dashboard)
    assert len(shown) >= 4
    titles = [panel["title"] for panel in shown]
    assert len(set(titles)) == len(titles)
    for panel in shown:
        assert panel["description"]
        assert "_" not in panel["title"], "a name of a column is no title"
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        references = [target["refId"] for target in panel["targets"]]
        assert references == ["A", "B", "C", "D"][: len(references)]


def test_panels_do_not_lie_on_each_other(made: dict[str, Dashboard]) -> None:
    for dashboard in made.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            taken |= cells


def test_variables_that_are_used_are_there(made: dict[str, Dashboard]) -> None:
    for dashboard in made.values():
        names = {each["name"] for each in dashboard["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
        assert used - names <= {"__range", "__range_s", "__rate_interval"}
        assert "datasource" in names


def test_the_basis_is_shown_wherever_figures_of_a_configuration_are(
    made: dict[str, Dashboard],
) -> None:
    shown = 0
    for name in ("sweep", "latency", "quality", "finetune"):
        for panel, target in queries(made[name]):
            expression = target["expr"]
            if panel["type"] in ("timeseries", "bargauge") and "profile" in expression:
                assert re.search(r"by \([^)]*\bbasis\b", expression), panel["title"]
                assert "{{basis}}" in target["legendFormat"], panel["title"]
                shown += 1
            if panel["type"] == "table":
                assert expression.startswith("label_join(")
                assert '"profile", "basis")' in expression
                shown += 1
    assert shown > 15


def test_every_figure_of_quality_has_a_panel(made: dict[str, Dashboard]) -> None:
    text = json.dumps(made["quality"])
    assert all(f"medsweep_{name}" in text for name in QUALITIES)


def test_filters_are_labels_that_every_metric_has() -> None:
    assert set(re.findall(r"(\w+)=~", FILTER)) < set(LABELS)


def test_what_ray_tells_apart_by_process_is_added_up(made: dict[str, Dashboard]) -> None:
    """Ray's series can carry the id of a worker process, a new one at each start."""
    expressions = [
        target["expr"]
        for name in ("hardware", "finetune", "serving")
        for _, target in queries(made[name])
    ]
    assert len(expressions) > 15
    for expression in expressions:
        assert re.match(r"(sum|avg|max|histogram_quantile)\b", expression), expression
        assert "WorkerId" not in expression


def test_the_unit_of_tokens_is_not_that_of_requests(made: dict[str, Dashboard]) -> None:
    units = {
        (name, panel["title"]): panel["fieldConfig"]["defaults"].get("unit")
        for name, dashboard in made.items()
        for panel in panels(dashboard)
    }
    assert units["latency", "Output tokens per second"] == "suffix: tokens/s"
    assert units["latency", "Answers per second"] == "suffix: answers/s"
    assert units["serving", "Requests"] == "reqps"
    assert units["quality", "Token F1"] == "percentunit"
    assert units["hardware", "Energy of 1,000 answers"] == "joule"
    assert {unit for (_, title), unit in units.items() if "token" in title.lower()} >= {"s"}


def test_what_alerts_look_at_is_red_where_they_go_off(made: dict[str, Dashboard]) -> None:
    red = {
        panel["title"]: step["value"]
        for dashboard in made.values()
        for panel in panels(dashboard)
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
        if step["color"] == "red"
    }
    assert red["Failed requests"] == FAILED_SHARE
    assert red["Client-limited load points"] == 1
    assert red["Share of samples with clocks held back"] == THROTTLED_SHARE


@pytest.mark.parametrize("name", NAMES)
def test_every_dashboard_leads_to_the_others(name: str, made: dict[str, Dashboard]) -> None:
    (menu,) = made[name]["links"]
    assert (menu["type"], menu["tags"]) == ("dashboards", ["medsweep"])
    assert menu["keepTime"]
    assert menu["includeVars"]
    assert "medsweep" in made[name]["tags"]


def test_stages_of_a_run_are_marked(made: dict[str, Dashboard]) -> None:
    marked = {name for name, each in made.items() if each["annotations"].get("list")}
    assert marked == set(NAMES) - {"serving"}, "a served model has no sweep"
    (stages,) = made["sweep"]["annotations"]["list"]
    assert stages["useValueForTime"]
    assert "medsweep_stage_start_timestamp_seconds" in stages["expr"]


def test_one_value_per_repeat_is_no_line(made: dict[str, Dashboard]) -> None:
    columns = {column.metric for column in LIVE_GAUGES}
    for name in ("sweep", "latency", "quality", "hardware"):
        for panel, target in queries(made[name]):
            if columns & set(re.findall(r"medsweep_\w+", target["expr"])):
                assert panel["type"] in ("bargauge", "table"), panel["title"]
