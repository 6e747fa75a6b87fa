"""What a report is made from, read out of a result folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import InputError
from medsweep.report.figures import Training
from medsweep.report.tables.grouping import Row, distinct, group_by, model_order
from medsweep.results.schema import QUALITIES
from medsweep.results.store import read_json, read_rows

BENCHMARK = "benchmark.parquet"
SWEEP = "sweep.yaml"


@dataclass(frozen=True)
class Source:
    """The contents of one result folder.

    Attributes:
        sweep: its name.
        rows: of `benchmark.parquet`.
        scores: by cell key, the mean scores of each question, variant and load point.
        answers: by cell key, the first answer to each question of each variant; none where the
            dataset is not known to be public.
        training: one record for each adapter that answered.
    """

    sweep: str
    rows: list[dict[str, Any]]
    scores: dict[str, list[dict[str, Any]]]
    answers: dict[str, list[dict[str, Any]]]
    training: list[Training]


def read_source(folder: Path) -> Source:
    """Read a result folder.

    Args:
        folder: `<out>/<sweep>`.

    Raises:
        InputError: it has no `benchmark.parquet`.
    """
    path = folder / BENCHMARK
    if not path.is_file():
        raise InputError(
            f"{folder}: no {BENCHMARK} there; give the folder of a sweep, such as "
            "results/medlm-paper, after `medsweep run` or `medsweep k8s fetch`"
        )
    rows = read_rows(path)
    sweeps = distinct(rows, "sweep")
    responses = {
        key: found
        for key in distinct(rows, "key")
        if (found := folder / "cells" / key / "responses.parquet").is_file()
    }
    return Source(
        sweep=sweeps[0] if sweeps else folder.resolve().name,
        rows=rows,
        scores={key: _scores(path) for key, path in responses.items()},
        answers={key: _answers(path) for key, path in responses.items()}
        if _is_public(folder / SWEEP)
        else {},
        training=_training(folder / "adapters", rows),
    )


def _is_public(sweep: Path) -> bool:
    """Return whether a sweep's dataset is public; without the sweep's file it is not known to be.

    `keep_text` stores the texts of others too, for whoever has the folder; a report is passed on.
    """
    try:
        given = yaml.safe_load(sweep.read_text(encoding="utf-8"))
        return DatasetSpec.model_validate(given["dataset"]).is_public
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return False


def _scores(path: Path) -> list[dict[str, Any]]:
    """Return a row for each question, variant and load point; never one a request."""
    return _grouped(path, ["question_id", "variant", "load_point"], list(QUALITIES), "mean")


def _answers(path: Path) -> list[dict[str, Any]]:
    """Return a row for each question and variant, with its texts."""
    texts = ["question", "reference", "answer", "token_f1"]
    return _grouped(path, ["question_id", "variant"], texts, "first")


def _grouped(path: Path, keys: list[str], columns: list[str], how: str) -> list[dict[str, Any]]:
    """Return the groups of a Parquet file in the order in which they come."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=[*keys, *columns])
    groups = table.group_by(keys, use_threads=False).aggregate([(each, how) for each in columns])
    names = [each.removesuffix(f"_{how}") for each in groups.column_names]
    rows: list[dict[str, Any]] = groups.rename_columns(names).to_pylist()
    return rows


def _training(folder: Path, rows: Sequence[Row]) -> list[Training]:
    """Return the records of the adapters that the rows name, or of all of a model they do not."""
    found: list[dict[str, Any]] = []
    for adapter in sorted(folder.iterdir()) if folder.is_dir() else ():
        card, record = read_json(adapter / "adapter.json"), adapter / "training.parquet"
        if adapter.name.startswith(".") or card is None or not record.is_file():
            continue
        found.append({**card, "path": record, "name": adapter.name})
    used = set(distinct(rows, "adapter_sha256"))
    records: list[Training] = []
    by_model = group_by(found, lambda card: str(card["model"]))
    for model in sorted(by_model, key=model_order):
        cards = [card for card in by_model[model] if card.get("sha256") in used]
        cards = cards or by_model[model]
        bases = distinct([row for row in rows if row["model"] == model], "basis")
        records += [
            Training(
                model=model if len(cards) == 1 else str(card["name"]),
                bases=bases,
                rows=tuple(read_rows(card["path"])),
            )
            for card in cards
        ]
    return records
