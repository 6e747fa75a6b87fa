from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsweep.metrics.statistics import percentile_floor
from medsweep.results.schema import (
    BENCHMARK,
    LATENCIES,
    QUALITIES,
    REQUESTS,
    RESPONSES,
    STATISTICS,
    Column,
    arrow_schema,
)
from medsweep.results.store import write_rows

TABLES = {"benchmark": BENCHMARK, "requests": REQUESTS, "responses": RESPONSES}
UNITS = {"_per_s": "1/s", "_rps": "1/s", "_s": "s", "_bytes": "B", "_j": "J", "_usd": "USD"}


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_names_are_unique(columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_a_unit_in_the_name_is_the_column_s_unit(columns: Sequence[Column]) -> None:
    for column in columns:
        said = next((unit for end, unit in UNITS.items() if column.name.endswith(end)), None)
        if said is not None:
            assert column.unit == said, column.name
        else:
            assert column.unit not in ("s", "1/s", "B"), column.name


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_every_column_says_what_it_means(columns: Sequence[Column]) -> None:
    for column in columns:
        assert column.meaning, column.name
        assert (column.unit == "") == (column.kind in ("text", "flag")), column.name


def test_the_same_name_means_the_same_unit_everywhere() -> None:
    seen: dict[str, tuple[str, str]] = {}
    for columns in TABLES.values():
        for column in columns:
            unit = seen.setdefault(column.name, (column.unit, column.kind))
            assert unit == (column.unit, column.kind), column.name


def test_benchmark_has_every_figure() -> None:
    names = {column.name for column in BENCHMARK}
    for latency in LATENCIES:
        assert {f"{latency}_{statistic}_s" for statistic in STATISTICS} <= names
        assert {f"{latency}_mean_low_s", f"{latency}_mean_high_s"} <= names
    for quality in QUALITIES:
        assert {quality, f"{quality}_low", f"{quality}_high", f"{quality}_max"} <= names
    assert {"basis", "status", "reason", "failed_by_kind", "client_limited"} <= names


@pytest.mark.parametrize("statistic", ["p50", "p90", "p95", "p99"])
def test_the_schema_states_the_true_floor_of_each_percentile(statistic: str) -> None:
    floor = percentile_floor(int(statistic[1:]) / 100)
    assert STATISTICS[statistic].endswith(f"null under {floor} requests")


@pytest.mark.parametrize(
    ("column", "label"),
    [
        (Column("ttft_mean_s", "number", "s", "m"), "ttft mean (s)"),
        (Column("requests_per_s", "number", "1/s", "m"), "requests per s (1/s)"),
        (Column("token_f1", "number", "1", "m"), "token f1"),
        (Column("load_point", "text", "", "m"), "load point"),
    ],
)
def test_label(column: Column, label: str) -> None:
    assert column.label == label


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_unit_and_meaning_survive_in_the_file(columns: Sequence[Column], tmp_path: Path) -> None:
    write_rows(tmp_path / "t.parquet", columns, [{}])
    read = pq.read_schema(tmp_path / "t.parquet")
    assert read.names == [column.name for column in columns]
    for column in columns:
        field = read.field(column.name)
        assert field.type == arrow_schema([column]).field(0).type
        assert field.metadata[b"unit"].decode() == column.unit
        assert field.metadata[b"meaning"].decode() == column.meaning
