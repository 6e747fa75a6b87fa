"""The page: one self-contained HTML file with all results."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.comparison.finding import Finding
from medsweep.comparison.spread import spreads
from medsweep.report.figures import (
    Training,
    latency_by_configuration,
    matrix_figure,
    quality_by_epoch,
    save,
    speed_by_load,
    throughput_by_user_speed,
    tradeoff,
)
from medsweep.report.figures.style import GRID, INK, MUTED, WARNING
from medsweep.report.glossary import glossary
from medsweep.report.numbers import share
from medsweep.report.paired_tests import paired_tests
from medsweep.report.paper import KNOWN_INCONSISTENCIES
from medsweep.report.samples import public_answers, samples
from medsweep.report.table import ReportTable, as_csv, make_table
from medsweep.report.tables.bound import BoundRow, bound_table
from medsweep.report.tables.breakdown import breakdown_table, worsened_table, worst_table
from medsweep.report.tables.cost import CostRow, cost_table
from medsweep.report.tables.decision import DecisionRow, decision_table
from medsweep.report.tables.failures import FailureRow, failure_table
from medsweep.report.tables.grouping import (
    model_order,
    profile_order,
    without_repeated_answers,
)
from medsweep.report.tables.human import human_table
from medsweep.report.tables.judge import judge_table
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.matrix import matrix
from medsweep.report.tables.meter import meter_table
from medsweep.report.tables.method import HardwareRow, HostRow, hardware_table, host_table, method
from medsweep.report.tables.models import model_against_model, model_table
from medsweep.report.tables.paired import (
    PairedRow,
    base_against_tuned,
    without_repeated_pairs,
)
from medsweep.report.tables.paper_cells import PaperCell, paper_cells
from medsweep.report.tables.paper_figures import PaperFigure, paper_figures
from medsweep.report.tables.paper_table import PaperRow, paper_table_4
from medsweep.report.tables.quality import QualityRow, quality_table
from medsweep.report.tables.roofline import RooflineRow, roofline_table
from medsweep.report.tables.safety import safety_table
from medsweep.report.tables.servers import ServerRow, server_table
from medsweep.report.tables.spread import spread_table
from medsweep.report.tables.throughput import ThroughputRow, throughput_table
from medsweep.report.tables.training import adapters_used, training_table
from medsweep.report.takeaways import take_away
from medsweep.report.verdict import LIMITS, options, verdict
from medsweep.results.aggregate import Row, distinct
from medsweep.results.reader import Results
from medsweep.results.store import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT = "report.html"

Scores = Mapping[str, Sequence[Row]]

# Colours of the figures that follow the page's theme, light or dark.
_THEMED = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    WARNING: "mark",
    "#ffffff": "ground",
    "#000000": "ink",
}


def write_report(folder: Path) -> Path:
    """Write `report.html` and `figures/` of a result folder.

    Args:
        folder: of a sweep or of `medsweep bench --out`, or the `benchmark.parquet` in it; answers
            and training records are shown if the folder has them.

    Returns:
        The path of the page.

    Raises:
        InputError: there are no results.
        EnvironmentFault: no space, or no permission.
    """
    results = Results.open(folder)
    folder = folder if folder.is_dir() else folder.parent
    training, scores = adapters_used(results), results.question_scores()
    pictures = _pictures(results.rows, training, folder / "figures")
    answers = public_answers(results)
    paired = base_against_tuned(results.rows, scores)
    models = model_against_model(results.rows, scores)
    graded = without_repeated_answers(results.rows)
    tables = _tables(results.rows, training) | {
        "quality": make_table(QualityRow, quality_table(graded)),
        "models": model_table(models),
        "paired": make_table(PairedRow, without_repeated_pairs(paired)),
        "meter": meter_table(results.meter),
        "spread": spread_table(results.rows, spreads(results)),
        "breakdown": breakdown_table(graded, scores, results.labels),
        "human": human_table(results.review),
        "judge": judge_table(results.judges),
        "safety": safety_table(results.safety),
        "worst": worst_table(graded, answers or scores),
        "worsened": worsened_table(graded, answers or scores),
    }
    for name, table in tables.items():
        if table.rows:
            write_text(folder / "tables" / f"{name}.csv", as_csv(table))
    page = folder / REPORT
    write_text(page, _render(results, paired, models, pictures, tables, answers))
    return page


def _tables(rows: Sequence[Row], training: Sequence[Training]) -> dict[str, ReportTable]:
    """Return the tables that need no answers, by the name that template and CSV file have."""
    return {
        "decision": make_table(DecisionRow, decision_table(rows)),
        "matrix": matrix(rows).table,
        "throughput": make_table(ThroughputRow, throughput_table(rows)),
        "latency": make_table(LatencyRow, latency_table(rows)),
        "bound": make_table(BoundRow, bound_table(rows)),
        "roofline": make_table(RooflineRow, roofline_table(rows)),
        "cost": make_table(CostRow, cost_table(rows)),
        "training": training_table(training),
        "paper_cells": make_table(PaperCell, paper_cells(rows)),
        "paper_figures": make_table(PaperFigure, paper_figures(rows)),
        "paper": make_table(PaperRow, paper_table_4(rows)),
        "failures": make_table(FailureRow, failure_table(rows)),
        "cpus": make_table(HardwareRow, hardware_table(rows)),
        "hosts": make_table(HostRow, host_table(rows)),
        "servers": make_table(ServerRow, server_table(rows)),
    }


def _pictures(rows: Sequence[Row], training: Sequence[Training], folder: Path) -> dict[str, str]:
    """Write the figures and return them as inline SVG, by name."""
    figures = {"latency": latency_by_configuration(rows)}
    # A picture of one cell would show nothing that its table does not.
    if len(distinct(rows, "cell")) > 1:
        figures["matrix"] = matrix_figure(rows)
    if decisions := decision_table(rows):
        if sum(1 for row in decisions if row.token_f1 and row.e2e) > 1:
            figures["tradeoff"] = tradeoff(rows)
        figures["load"] = speed_by_load(rows)
    if sum(1 for row in throughput_table(rows) if row.user_tokens_per_s) > 1:
        figures["throughput"] = throughput_by_user_speed(rows)
    if training:
        figures["training"] = quality_by_epoch(training)
    names = {
        "tradeoff": "quality-against-latency",
        "matrix": "matrix",
        "throughput": "throughput-against-user-speed",
        "load": "speed-against-load",
        "latency": "latency-by-configuration",
        "training": "quality-by-epoch",
    }
    return {
        key: _inline(save(figure, folder, names[key]), names[key])
        for key, figure in figures.items()
    }


def _inline(svg: str, name: str) -> str:
    """Return an SVG document as an element whose ids and styles do not reach beyond it."""
    element = svg[svg.index("<svg") :]
    # Its style is in report.css: a style element would apply to all of the page.
    element = re.sub(r"<style.*?</style>", "", element, flags=re.DOTALL)
    for colour, variable in _THEMED.items():
        element = element.replace(f": {colour}", f": var(--{variable})")
    # The background of a hatching is an attribute, in which a variable has no effect.
    element = element.replace('fill="#ffffff"', 'style="fill: var(--ground)"')
    element = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', element)
    element = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', element)
    element = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", element)
    return element.replace("<svg ", f'<svg role="img" aria-labelledby="{name}" ', 1)


def _render(
    results: Results,
    paired: Sequence[PairedRow],
    models: Sequence[Finding],
    pictures: dict[str, str],
    tables: dict[str, ReportTable],
    answers: Scores,
) -> str:
    rows, graded = results.rows, without_repeated_answers(results.rows)
    states = matrix(rows)
    tests = paired_tests(rows, paired, models)
    script = _text("page.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            css=_text("report.css"),
            script=script,
            # The page may run this script and no other.
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            sweep=results.sweep,
            counts={state: states.count(state) for state in ("ok", "failed", "refused")},
            emulated=any(row["basis"] == "emulated" for row in rows),
            emulated_rows=sum(row["basis"] == "emulated" for row in rows),
            all_rows=len(rows),
            only_stand_ins=all(row["stands_in_for"] for row in rows),
            stand_ins=sorted({row["model"] for row in rows if row["stands_in_for"]}),
            model_names=sorted(distinct(rows, "model"), key=model_order),
            profile_names=sorted(distinct(rows, "profile"), key=profile_order),
            verdict=verdict(rows, tests),
            limits=LIMITS,
            options=options(rows),
            take_away=take_away(rows, paired, tests),
            selection=[
                f"{each.model}: {sentence}"
                for each in adapters_used(results)
                for sentence in each.selection
            ],
            pictures=pictures,
            tables=tables,
            csv_address=_csv_address,
            glossary=glossary(tables.values()),
            inconsistencies=KNOWN_INCONSISTENCIES,
            samples=samples(graded, answers),
            repeated_answers=len(graded) < len(rows),
            facts=method(rows).facts,
            share=share,
        )
    )


def _csv_address(table: ReportTable) -> str:
    """Return a table as an address that needs no file beside the page."""
    return "data:text/csv;base64," + base64.b64encode(as_csv(table).encode()).decode()


def _text(name: str) -> str:
    return resources.files("medsweep.report").joinpath(name).read_text("utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("medsweep", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
