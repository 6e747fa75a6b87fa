"""The rows of `benchmark.parquet` and the raw files below them, without the package."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy import stats

from report_reading.printed import Text


def in_words(load_point: str) -> str:
    """Return a load point as tables name it: "2 clients", "8 requests/s (Poisson)"."""
    kind, amount, spacing = load_point[:1], *load_point[1:].partition("-")[::2]
    words = {"c": "client", "r": "request"}[kind] + "s" * (amount != "1")
    spaced = {"poisson": " (Poisson)"}.get(spacing, "")
    return f"{amount} {words}{'/s' * (kind == 'r')}{spaced}"


class Raw:
    """What a folder of results holds.

    Args:
        folder: of the results, with `benchmark.parquet` and, where there are, the raw files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        every = read_frame(folder / "benchmark.parquet")
        load = every["load_point"].map(in_words, na_action="ignore").rename("load")
        every = pd.concat([every, load], axis=1)
        self.every, self.ok = every, every[every["status"] == "ok"]

    def cell_of(self, row: Text, *columns: str) -> pd.DataFrame:
        """Return the measured rows of a table's row, of the adapter where it answered."""
        chosen = self.ok
        for column in columns:
            chosen = chosen[chosen[column] == row[column.replace("_", " ").capitalize()]]
        return headline(chosen)

    @cache  # noqa: B019
    def raw(self, key: str, name: str) -> pd.DataFrame | None:
        """Return the requests or responses of a cell."""
        path = self.folder / "cells" / key / f"{name}.parquet"
        return read_frame(path) if path.exists() else None

    def of(self, row: Any, name: str) -> pd.DataFrame | None:
        """Return the requests or responses of one row of `benchmark.parquet`."""
        table = self.raw(row["key"], name)
        if table is None:
            return None
        for column in ("load_point", "repeat", "variant"):
            table = table[table[column] == row[column]]
        return table

    def times(self, row: Any, latency: str) -> list[float] | None:
        """Return a latency of each answered request of one measurement; None without the file."""
        requests = self.of(row, "requests")
        if requests is None:
            return None
        requests = requests[(requests["phase"] == "measure") & (requests["status"] == "ok")]
        start = requests["due_s"].fillna(requests["sent_s"])
        if latency == "ttft":
            return list((requests["first_text_s"] - start).dropna())
        if latency == "e2e":
            return list(requests["end_s"] - start)
        taken = (requests["end_s"] - requests["first_text_s"]) / (requests["output_tokens"] - 1)
        return list(taken[[_has_tpot(each) for _, each in requests.iterrows()]])

    def statistic(self, row: Any, latency: str, name: str) -> float | None:
        """Return the mean or a percentile of one measurement, from its requests."""
        times = self.times(row, latency)
        if times is None:
            return or_none(row[f"{latency}_{name}_s"])
        fewest = {"mean": 1, "p50": 11, "p90": 64, "p95": 130, "p99": 662, "max": 1}[name]
        if len(times) < fewest:
            return None
        if name in ("mean", "max"):
            return float(np.mean(times) if name == "mean" else np.max(times))
        return float(np.percentile(times, float(name[1:])))

    def averaged(self, rows: pd.DataFrame, latency: str, name: str) -> float | None:
        """Return the mean over repeats of a statistic."""
        found = [self.statistic(row, latency, name) for _, row in rows.iterrows()]
        known = [each for each in found if each is not None]
        return float(np.mean(known)) if known else None

    def interval(self, rows: pd.DataFrame, latency: str) -> tuple[float | None, Any]:
        """Return the mean of a load point and what is printed below it."""
        known = [
            (row["deployment"], value)
            for _, row in rows.iterrows()
            if (value := self.statistic(row, latency, "mean")) is not None
        ]
        if not known:
            return None, None
        frame = pd.DataFrame(known, columns=["deployment", "value"])
        groups = frame.groupby("deployment", dropna=False, sort=False)["value"]
        values = list(groups.mean() if len(groups) > 1 else frame["value"])
        mean = float(np.mean(values))
        if len(values) < 3:
            return mean, sorted(values) if len(values) == 2 else None
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        factor = math.exp(stats.t.ppf(0.975, len(values) - 1) * error / mean)
        return mean, [mean / factor, mean * factor]


def read_frame(path: Path) -> pd.DataFrame:
    table = pd.DataFrame(pq.read_table(path).to_pylist())
    return table.astype({each: object for each in table if table[each].dtype == "str"})


def or_none(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def mean_of(rows: pd.DataFrame, column: str) -> float | None:
    # A file that an earlier version wrote lacks the columns that were added since.
    return or_none(pd.to_numeric(rows[column]).mean()) if column in rows else None


def largest_of(rows: pd.DataFrame, column: str) -> float | None:
    return or_none(pd.to_numeric(rows[column]).max())


def listed_of(rows: pd.DataFrame, column: str) -> str | None:
    values = rows[column].dropna().unique()
    return (
        ", ".join(f"{each:.0f}" if isinstance(each, float) else str(each) for each in values)
        or None
    )


def one_line(text: str) -> str:
    return "; ".join(text.splitlines())


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the adapter's rows of each cell, or the base model's where it has no other."""
    has_adapter = rows.groupby(["model", "profile"])["variant"].transform(
        lambda variants: (variants == "adapter").any()
    )
    chosen: pd.DataFrame = rows[(rows["variant"] == "adapter") | ~has_adapter.astype(bool)]
    return chosen


def load_points(rows: pd.DataFrame) -> list[str]:
    """Return the load points: closed loops by concurrency, then open loops by rate."""
    points = rows[["load_point", "concurrency", "rate_rps"]].drop_duplicates()
    points = points.assign(is_open=points["concurrency"].isna())
    ordered = points.sort_values(["is_open", "concurrency", "rate_rps", "load_point"])
    return list(ordered["load_point"])


def lightest(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["load_point"] == load_points(rows)[0]]


def busiest(rows: pd.DataFrame) -> tuple[str | None, float | None]:
    rates = rows.groupby("load_point")["requests_per_s"].mean().dropna()
    return (str(rates.idxmax()), float(rates.max())) if len(rates) else (None, None)


def most_questions(rows: pd.DataFrame) -> pd.DataFrame:
    point = rows.iloc[int(rows["questions"].fillna(0).to_numpy().argmax())]["load_point"]
    chosen: pd.DataFrame = rows[rows["load_point"] == point]
    return chosen


def usd_per_1k(rows: pd.DataFrame) -> float | None:
    """Return the hourly price over the answers of an hour; only what was observed has one."""
    rows = rows[(rows["basis"] == "observed") & ~rows["client_limited"].eq(True)]
    return or_none((1000 * rows["usd_per_hour"] / 3600 / rows["requests_per_s"]).mean())


def _has_tpot(request: Any) -> bool:
    """Whether at most a fifth of the tokens after the first came with it."""
    tokens = request["output_tokens"]
    if math.isnan(tokens) or tokens < 2 or math.isnan(request["first_text_s"]):
        return False
    gaps, counts = list(request["chunk_gaps_s"]), request["chunk_tokens"]
    together = 1
    while together <= len(gaps) and gaps[together - 1] == 0:
        together += 1
    came = sum(counts[:together]) if counts is not None else tokens * together / (1 + len(gaps))
    return bool((came - 1) / (tokens - 1) <= 0.2)
