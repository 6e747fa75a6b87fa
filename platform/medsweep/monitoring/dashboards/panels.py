"""Building blocks of the dashboards: one function per kind of panel, with common defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from grafana_foundation_sdk.models.dashboard import Dashboard

    from medsweep.results.column import Column

HEIGHT = 8
WIDTH = 24

FILTER = 'sweep=~"$sweep", model=~"$model", profile=~"$profile"'
"""The matchers of every figure of a sweep; their variables are below."""

BY = "model, profile, load_point, basis"
LEGEND = "{{model}} {{profile}} {{load_point}} ({{basis}})"
"""Every legend has the basis, so that an emulated figure is never taken for an observed one."""

# A run shows its planned cells from the start, also while it fine-tunes; afterwards `metrics.prom`
# has the state of each.
_CELLS = '__name__=~"medsweep_cell_(planned|status)"'
SWEEP_VARIABLES = {
    "sweep": f"label_values({{{_CELLS}}}, sweep)",
    "model": f'label_values({{{_CELLS}, sweep=~"$sweep"}}, model)',
    "profile": f'label_values({{{_CELLS}, sweep=~"$sweep"}}, profile)',
}

UNITS = {
    "s": "s",
    "answers/s": "suffix: answers/s",
    "requests/s": "reqps",
    "tokens/s": "suffix: tokens/s",
    "share": "percentunit",
    "B": "bytes",
    "Hz": "hertz",
    "J": "joule",
    "W": "watt",
    "USD": "currencyUSD",
    "%": "percent",
}
"""Grafana's names of units; others have none."""

LONGEST_TITLE = 60


def dashboard(
    name: str, title: str, panels: Iterable[Any], variables: Mapping[str, str]
) -> Dashboard:
    """Return a dashboard.

    Args:
        name: `medsweep-<name>` is its identity, so that a new import replaces the previous one.
        title: of the dashboard.
        panels: in reading order, panels and folded rows.
        variables: query of each variable at the top, by name.
    """
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.models.dashboard import VariableRefresh

    made = (
        builders.Dashboard(f"MedSweep: {title}")
        .uid(f"medsweep-{name}")
        .tags(["medsweep"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(builders.DatasourceVariable("datasource").label("Data").type("prometheus"))
    )
    for variable, query in variables.items():
        made = made.with_variable(
            builders.QueryVariable(variable)
            .label(variable.capitalize())
            .datasource(_source())
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    made = made.link(_links())
    for panel in panels:
        made = made.with_row(panel) if isinstance(panel, builders.Row) else made.with_panel(panel)
    return made.build()


def folded(title: str, panels: Sequence[Any]) -> Any:
    """Return a row of panels that is folded until it is clicked; its panels ask nothing before."""
    from grafana_foundation_sdk.builders import dashboard as builders

    row = builders.Row(title).collapsed(True)
    for panel in panels:
        row = row.with_panel(panel)
    return row


def _links() -> Any:
    """Return the menu of the other dashboards, which keeps the time and what is chosen."""
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.models.dashboard import DashboardLinkType

    menu = builders.DashboardLink("MedSweep").type(DashboardLinkType.DASHBOARDS)
    return menu.tags(["medsweep"]).as_dropdown(True).include_vars(True).keep_time(True)


def lines(
    title: str,
    queries: Mapping[str, str],
    *,
    unit: str = "",
    about: str,
    span: int = WIDTH // 2,
    limit: float | None = None,
) -> Any:
    """Return a panel of lines over time.

    Args:
        title: of the panel.
        queries: PromQL by legend.
        unit: one of UNITS, or none.
        about: what is shown, and how to read it.
        span: width, of 24.
        limit: from where on values are bad; the area is red.
    """
    from grafana_foundation_sdk.builders import common, timeseries
    from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode

    panel = timeseries.Panel().line_width(2).fill_opacity(5).span_nulls(True)
    if limit is not None:
        style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE_AND_AREA)
        panel = panel.thresholds(_red_from(limit)).thresholds_style(style)
    return _framed(panel, title, queries, unit, about, span)


def number(
    title: str,
    query: str,
    *,
    unit: str = "",
    legend: str = "",
    about: str,
) -> Any:
    """Return a panel with the last value of each series as a number."""
    from grafana_foundation_sdk.builders import common, stat

    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = stat.Panel().reduce_options(reduce).thresholds(_red_from(None))
    return _framed(panel, title, {legend: query}, unit, about, span=4)


def bars(
    title: str,
    query: str,
    *,
    legend: str = LEGEND,
    unit: str = "",
    about: str,
    span: int = WIDTH // 2,
    limit: float | None = None,
) -> Any:
    """Return a panel with the last value of each series as a bar from 0, red from a limit on."""
    from grafana_foundation_sdk.builders import bargauge, common
    from grafana_foundation_sdk.models.common import VizOrientation

    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = bargauge.Panel().orientation(VizOrientation.HORIZONTAL).reduce_options(reduce)
    panel = panel.min(0).thresholds(_red_from(limit))
    return _framed(panel, title, {legend: query}, unit, about, span)


def heat(title: str, histogram: str, *, about: str) -> Any:
    """Return a heatmap of a histogram's buckets over time.

    Args:
        title: of the panel.
        histogram: name of the metric, without `_bucket`, with its matchers.
        about: what is shown.
    """
    from grafana_foundation_sdk.builders import heatmap
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    name, _, matchers = histogram.partition("{")
    query = f"sum by (le) (increase({name}_bucket{{{matchers}[$__rate_interval]))"
    panel = _framed(heatmap.Panel().calculate(False), title, {}, "s", about, WIDTH // 2)
    return panel.with_target(_query(query, "{{le}}").format(PromQueryFormat.HEATMAP))


def grid(title: str, query: str, *, unit: str = "", about: str) -> Any:
    """Return a matrix of models by hardware profile and basis, from series with these labels."""
    from grafana_foundation_sdk.builders import table
    from grafana_foundation_sdk.models.dashboard import DataTransformerConfig
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    transformation = DataTransformerConfig(
        id_val="groupingToMatrix",
        options={"rowField": "model", "columnField": "profile", "valueField": "Value"},
    )
    panel = _framed(table.Panel(), title, {}, unit, about, WIDTH)
    shown = f'label_join({query}, "profile", ", ", "profile", "basis")'
    target = _query(shown, "").instant().format(PromQueryFormat.TABLE)
    return panel.with_target(target).with_transformation(transformation)


def column_bars(column: Column, *, limit: float | None = None) -> Any:
    """Return bars of one column of the results, by configuration: it has one value per repeat."""
    query = f"avg by ({BY}) (last_over_time({column.metric}{{{FILTER}}}[$__range]))"
    about = f"{_sentence(column.meaning)} Column `{column.name}`, the last repeat's."
    return bars(
        column_title(column), query, unit=_column_unit(column), about=about, span=8, limit=limit
    )


def column_title(column: Column) -> str:
    """Return what the schema says that a column is, as far as it fits a title."""
    words = re.split(r"[:;(]", column.meaning)[0].strip()
    if len(words) > LONGEST_TITLE:
        words = words.split(",")[0]
    return words[0].upper() + words[1:]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _column_unit(column: Column) -> str:
    if column.unit == "1/s":
        return "tokens/s" if "token" in column.name else "answers/s"
    return "share" if column.unit == "1" and "share" in column.meaning else column.unit


def _red_from(limit: float | None) -> Any:
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

    steps = [Threshold(value=None, color="green" if limit is not None else "blue")]
    if limit is not None:
        steps.append(Threshold(value=limit, color="red"))
    return builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _framed(
    panel: Any, title: str, queries: Mapping[str, str], unit: str, about: str, span: int
) -> Any:
    panel = panel.title(title).description(about).datasource(_source()).height(HEIGHT).span(span)
    if unit in UNITS:
        panel = panel.unit(UNITS[unit])
    for place, (legend, query) in enumerate(queries.items()):
        panel = panel.with_target(_query(query, legend, place))
    return panel


def _query(query: str, legend: str, place: int = 0) -> Any:
    from grafana_foundation_sdk.builders import prometheus

    return prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + place))


def _source() -> Any:
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    return DataSourceRef(type_val="prometheus", uid="${datasource}")
