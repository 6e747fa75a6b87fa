"""Building blocks of the dashboards: one function per kind of panel, with common defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grafana_foundation_sdk.models.dashboard import Dashboard

    from medsweep.results.column import Column

HEIGHT = 8
WIDTH = 24

FILTER = 'sweep=~"$sweep", model=~"$model", profile=~"$profile"'
"""The matchers of every figure of a sweep; their variables are below."""

BY = "model, profile, load_point, basis"
LEGEND = "{{model}} {{profile}} {{load_point}} ({{basis}})"
"""Every legend has the basis, so that an emulated figure is never taken for an observed one."""

SWEEP_VARIABLES = {
    "sweep": "label_values(medsweep_requests_total, sweep)",
    "model": 'label_values(medsweep_requests_total{sweep=~"$sweep"}, model)',
    "profile": 'label_values(medsweep_requests_total{sweep=~"$sweep"}, profile)',
}

UNITS = {
    "s": "s",
    "1/s": "reqps",
    "B": "bytes",
    "Hz": "hertz",
    "J": "joule",
    "W": "watt",
    "USD": "currencyUSD",
    "%": "percent",
}
"""Grafana's names of our units; others have none."""


def dashboard(
    name: str, title: str, panels: Iterable[Any], variables: Mapping[str, str]
) -> Dashboard:
    """Return a dashboard.

    Args:
        name: `medsweep-<name>` is its identity, so that a new import replaces the previous one.
        title: of the dashboard.
        panels: in reading order.
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
    for panel in panels:
        made = made.with_panel(panel)
    return made.build()


def lines(
    title: str, queries: Mapping[str, str], *, unit: str = "", about: str, span: int = WIDTH // 2
) -> Any:
    """Return a panel of lines over time.

    Args:
        title: of the panel.
        queries: PromQL by legend.
        unit: as in the schema of the results.
        about: what is shown, and how to read it.
        span: width, of 24.
    """
    from grafana_foundation_sdk.builders import timeseries

    panel = timeseries.Panel().line_width(2).fill_opacity(5).span_nulls(True)
    return _framed(panel, title, queries, unit, about, span)


def number(
    title: str, query: str, *, unit: str = "", legend: str = "", about: str, span: int = 4
) -> Any:
    """Return a panel with the last value of each series as a number."""
    from grafana_foundation_sdk.builders import common, stat

    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = stat.Panel().reduce_options(reduce)
    return _framed(panel, title, {legend: query}, unit, about, span)


def bars(
    title: str,
    query: str,
    *,
    legend: str = LEGEND,
    unit: str = "",
    about: str,
    span: int = WIDTH // 2,
) -> Any:
    """Return a panel with the last value of each series as a bar."""
    from grafana_foundation_sdk.builders import bargauge, common
    from grafana_foundation_sdk.models.common import VizOrientation

    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = bargauge.Panel().orientation(VizOrientation.HORIZONTAL).reduce_options(reduce)
    return _framed(panel, title, {legend: query}, unit, about, span)


def heat(title: str, histogram: str, *, about: str, span: int = WIDTH // 2) -> Any:
    """Return a heatmap of a histogram's buckets over time.

    Args:
        title: of the panel.
        histogram: name of the metric, without `_bucket`, with its matchers.
        about: what is shown.
        span: width, of 24.
    """
    from grafana_foundation_sdk.builders import heatmap
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    name, _, matchers = histogram.partition("{")
    query = f"sum by (le) (increase({name}_bucket{{{matchers}[$__rate_interval]))"
    panel = _framed(heatmap.Panel().calculate(False), title, {}, "s", about, span)
    return panel.with_target(_query(query, "{{le}}").format(PromQueryFormat.HEATMAP))


def grid(title: str, query: str, *, unit: str = "", about: str, span: int = WIDTH) -> Any:
    """Return a matrix of models by hardware profile and basis, from series with these labels."""
    from grafana_foundation_sdk.builders import table
    from grafana_foundation_sdk.models.dashboard import DataTransformerConfig
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    transformation = DataTransformerConfig(
        id_val="groupingToMatrix",
        options={"rowField": "model", "columnField": "profile", "valueField": "Value"},
    )
    panel = _framed(table.Panel(), title, {}, unit, about, span)
    shown = f'label_join({query}, "profile", ", ", "profile", "basis")'
    target = _query(shown, "").instant().format(PromQueryFormat.TABLE)
    return panel.with_target(target).with_transformation(transformation)


def column_lines(column: Column, *, span: int = WIDTH // 2) -> Any:
    """Return the lines of one column of the results, by configuration."""
    query = f"avg by ({BY}) ({column.metric}{{{FILTER}}})"
    title = column.name.replace("_", " ").capitalize()
    return lines(title, {LEGEND: query}, unit=column.unit, about=column.meaning, span=span)


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
