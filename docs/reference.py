"""Write the reference pages from their sources, or check that they are up to date (`--check`)."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import operator
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

os.environ["COLUMNS"] = "100"  # argparse wraps its help to the terminal

from medsweep.cli import VERBS, parser_for
from medsweep.config import Closed, field_meanings
from medsweep.datasets.spec import ColumnsSpec, DatasetSpec, MixSpec
from medsweep.errors import EXIT_CODES, MedSweepError
from medsweep.finetune.train_metrics import LABELS as TRAINING_LABELS
from medsweep.finetune.train_metrics import METRICS as TRAINING_METRICS
from medsweep.hardware.own import OwnAcceleratorSpec, OwnProfileSpec
from medsweep.k8s.settings import ClusterSettings, Toleration
from medsweep.loadgen.spec import LoadPoint
from medsweep.models.own import OwnModelSpec
from medsweep.monitoring.prometheus import LABELS, LIVE_GAUGES, NUMBERS
from medsweep.results.column import Column
from medsweep.results.schema import BENCHMARK, REQUESTS, RESPONSES
from medsweep.review.rubric import Criterion, HarmAxis, Rubric
from medsweep.search.record import COLUMNS as SEARCH
from medsweep.search.spec import SearchSpec
from medsweep.serving.config import SweepServeSpec
from medsweep.serving.server_metrics import METRICS as SERVER_METRICS
from medsweep.sweep.external import ExternalSpec
from medsweep.sweep.spec import (
    EntailmentSpec,
    FineTuneSpec,
    LoadSpec,
    PriceSpec,
    QualitySpec,
    SweepSpec,
)

FOLDER = Path(__file__).parent / "reference"


def cli_page() -> str:
    """Return the page of the command line: every verb's help."""
    parts = ["# Command line\n", f"```\n{parser_for().format_help().strip()}\n```\n"]
    for verb in VERBS:
        parts += _verb_pages(f"medsweep {verb}", _verbs(parser_for(verb))[verb])
    return "\n".join(parts)


def _verb_pages(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the help of a verb, and of its own verbs where it has any."""
    text = parser.format_help().split("exit codes:")[0].strip()
    yield f"## {name}\n\n```\n{text}\n```\n"
    for verb, child in _verbs(parser).items():
        yield from _verb_pages(f"{name} {verb}", child)


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    if parser._subparsers is None:
        return {}
    choices = parser._subparsers._group_actions[0].choices
    assert isinstance(choices, dict)
    return choices


def _fields(model: type[Any]) -> dict[str, FieldInfo]:
    if issubclass(model, Closed):
        return model.model_fields
    hints = get_type_hints(model)
    return {
        field.name: FieldInfo.from_annotated_attribute(hints[field.name], field.default)
        for field in dataclasses.fields(model)
    }


def config_page() -> str:
    """Return the page of the sweep file: every field with its default and meaning."""
    sections: list[tuple[str, type[Any]]] = [
        ("The sweep", SweepSpec),
        ("own_models[]", OwnModelSpec),
        ("own_profiles[]", OwnProfileSpec),
        ("own_profiles[].accelerator", OwnAcceleratorSpec),
        ("cells[], an external server", ExternalSpec),
        ("dataset", DatasetSpec),
        ("dataset.mix[]", MixSpec),
        ("dataset.columns", ColumnsSpec),
        ("finetune", FineTuneSpec),
        ("search", SearchSpec),
        ("serve", SweepServeSpec),
        ("load", LoadSpec),
        ("load.points[]", LoadPoint),
        ("quality", QualitySpec),
        ("quality.entailment", EntailmentSpec),
        ("prices.PROFILE", PriceSpec),
        ("A cluster's file", ClusterSettings),
        ("A cluster's file, tolerations[]", Toleration),
        ("A judge's rubric", Rubric),
        ("A judge's rubric, criteria[]", Criterion),
        ("A judge's rubric, harms[]", HarmAxis),
    ]
    parts = ["# Sweep file\n", "Unknown fields are faults; all faults are listed at once.\n"]
    for title, model in sections:
        meanings = field_meanings(model)
        parts += [f"## {title}\n", "| field | type | default | meaning |"]
        parts.append("| --- | --- | --- | --- |")
        for name, field in _fields(model).items():
            default = "required" if field.is_required() else _default(field.default)
            kind = re.sub(
                r"(?:medsweep|collections)\.[\w.]*\.",
                "",
                inspect.formatannotation(_unchecked(field.annotation)),
            )
            kind = re.sub(r"Optional\[(.*)\]$", r"\1 | None", kind)
            meaning = meanings[name]
            parts.append(f"| `{name}` | {_cell(kind)} | {default} | {_cell(meaning)} |")
        parts.append("")
    return "\n".join(parts)


def _unchecked(annotation: Any) -> Any:
    """Return a type without what checks its values, which is no part of it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _unchecked(arguments[0])
    if origin in (Union, UnionType):
        return functools.reduce(operator.or_, map(_unchecked, arguments))
    if origin in (list, dict):
        return origin[tuple(map(_unchecked, arguments))]
    return annotation


def results_page() -> str:
    """Return the page of the result files: every column with its unit and meaning."""
    parts = ["# Result files\n", "Missing is null, never 0. Units are SI and in the name.\n"]
    for title, columns in (
        ("benchmark.parquet: one row per cell, load point and repeat", BENCHMARK),
        ("cells/KEY/requests.parquet: one row per request", REQUESTS),
        ("cells/KEY/responses.parquet: one row per graded answer", RESPONSES),
        ("search/MODEL/search.parquet: one row per trial and epoch", SEARCH),
    ):
        parts.append(f"## {title}\n\n{_columns(columns)}\n")
    return "\n".join(parts)


def metrics_page() -> str:
    """Return the page of the Prometheus metrics."""
    labels = ", ".join(f"`{name}`" for name in LABELS)
    parts = [
        "# Prometheus metrics\n",
        f"Labels: {labels}; the textfile has `repeat` too.\n",
        "While a sweep runs: histograms `medsweep_ttft_seconds`, `medsweep_inter_token_seconds`",
        "and `medsweep_e2e_seconds`; counter `medsweep_requests_total` with `status`; gauge",
        "`medsweep_cells` by `state`; `medsweep_cell_planned`, 1 for each cell of the plan;",
        "`medsweep_stage_start_timestamp_seconds` by `stage`: when a step of it began last;",
        "`medsweep_last_progress_timestamp_seconds` by `sweep`;",
        "gauges of the last repeat: "
        + ", ".join(f"`{column.metric}`" for column in LIVE_GAUGES)
        + ".\n",
        "In `metrics.prom`, at the end, one gauge for each number of `benchmark.parquet`:\n",
        "| metric | unit | meaning |\n| --- | --- | --- |",
    ]
    parts += [f"| `{column.metric}` | {column.unit} | {column.meaning} |" for column in NUMBERS]
    parts += ["\n## A server\n", "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |"]
    parts += [
        f"| `{each.full_name}` | {each.kind} | {', '.join(each.labels)} | {each.meaning} |"
        for each in SERVER_METRICS
    ]
    labels = ", ".join(f"`{name}`" for name in TRAINING_LABELS)
    parts += ["\n## A fine-tune under Ray\n", f"Gauges, after each epoch; labels: {labels}.\n"]
    parts += ["| metric | meaning |\n| --- | --- |"]
    parts += [f"| `{name}` | {meaning} |" for name, meaning in TRAINING_METRICS.items()]
    return "\n".join(parts) + "\n"


def exit_codes_page() -> str:
    """Return the page of the exit codes: what each means, and the errors that end with it."""
    parts = [
        "# Exit codes\n",
        "They do not change between versions. An error is printed to standard error in words, with",
        "the page that tells more; its traceback is not.\n",
    ]
    for code, meaning in EXIT_CODES.items():
        parts.append(f"## {code}\n\n{meaning[0].upper()}{meaning[1:]}.\n")
        found = [each for each in _errors(MedSweepError) if each.exit_code == code]
        parts += [f"- `{each.__name__}`: {_summary(each)}" for each in found]
        parts += [""] * bool(found)
    return "\n".join(parts).rstrip() + "\n"


def _errors(root: type[MedSweepError]) -> Iterator[type[MedSweepError]]:
    """Yield the errors below a class."""
    for child in root.__subclasses__():
        if child.__module__ == root.__module__:
            yield child
            yield from _errors(child)


def _summary(error: type[MedSweepError]) -> str:
    return (error.__doc__ or "").splitlines()[0]


PAGES = {
    "cli": cli_page,
    "config": config_page,
    "results": results_page,
    "metrics": metrics_page,
    "exit-codes": exit_codes_page,
}


def _columns(columns: Iterable[Column]) -> str:
    head = "| column | type | unit | meaning |\n| --- | --- | --- | --- |\n"
    return head + "\n".join(
        f"| `{column.name}` | {column.kind} | {column.unit} | {column.meaning} |"
        for column in columns
    )


def _default(value: object) -> str:
    return "see below" if isinstance(value, Closed) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the pages, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = FOLDER / f"{name}.md", page()
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path))
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
