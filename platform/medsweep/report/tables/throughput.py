"""Throughput against the speed that each user sees, at every load point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.cost import usd_per_million_tokens
from medsweep.report.table import (
    MEANINGS,
    TableRow,
    average,
    build,
    column,
    hidden,
    load,
    number,
)
from medsweep.report.tables.cost import NO_PRICE
from medsweep.report.tables.grouping import configuration_order
from medsweep.results.aggregate import (
    Row,
    first,
    group_by_columns,
    headline_rows,
    load_points,
    mean,
)
from medsweep.results.aggregate import average as mean_of


def _user_tokens_per_s(rows: Sequence[Row]) -> float | None:
    tpot_s = mean(rows, "tpot_mean_s")
    return 1 / tpot_s if tpot_s else None


def _per_gpu(rows: Sequence[Row]) -> float | None:
    if first(rows, "basis") != "observed":
        return None
    rate, gpus = mean(rows, "output_tokens_per_s"), first(rows, "gpus")
    return rate / gpus if rate is not None and gpus else None


def _usd_per_million(rows: Sequence[Row]) -> float | None:
    prices = [price for row in rows if (price := usd_per_million_tokens(row)) is not None]
    return mean_of(prices) if prices else None


@dataclass(frozen=True)
class ThroughputRow(TableRow):
    """One configuration at one load point; means over its repeats."""

    caption = (
        "Throughput against the speed that each user sees: more load makes more tokens for all "
        "and fewer for each"
    )
    labels = 3

    model: str = column("Model")
    profile: str = column("Profile")
    load_point: str = column("Load", show=load)
    basis: str = column("Basis")
    user_tokens_per_s: float | None = column(
        "Tokens/s per user",
        _user_tokens_per_s,
        number,
        missing="answers of one token, or too few",
        meaning="1 / mean TPOT: how fast the text of one answer grows",
    )
    output_tokens_per_s: float | None = average("Output tokens/s", "output_tokens_per_s")
    per_gpu: float | None = column(
        "Output tokens/s per GPU",
        _per_gpu,
        number,
        missing="no GPU, or measured on other hardware",
        meaning=MEANINGS["output_tokens_per_s"] + ", divided by the GPUs of the profile",
    )
    usd_per_million: float | None = column(
        "USD per 1M output tokens",
        _usd_per_million,
        number,
        missing=NO_PRICE,
        meaning="price of the profile over its output tokens, for 1,000,000 of them",
    )
    gpus: int | None = hidden()


def throughput_table(rows: Sequence[Row]) -> list[ThroughputRow]:
    """Return one row per configuration and load point.

    Args:
        rows: of `benchmark.parquet`.

    Returns:
        Rows by basis, model, profile and load point.
    """
    measured = headline_rows(rows)
    points = load_points(measured)
    groups = group_by_columns(measured, "model", "profile", "basis", "load_point")
    return sorted(
        (build(ThroughputRow, group) for group in groups.values()),
        key=lambda row: (*configuration_order(row), points.index(row.load_point)),
    )
