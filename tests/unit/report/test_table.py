import csv
import io
from dataclasses import dataclass

import pytest

from medsweep.metrics.statistics import Interval
from medsweep.report.table import (
    Column,
    TableCell,
    TableRow,
    as_csv,
    build,
    column,
    hidden,
    make_table,
    number,
    p_value,
    tabulate,
    time,
)


@dataclass(frozen=True)
class Times(TableRow):
    caption = "times"

    model: str = column("Model")
    e2e_s: float = column(
        "E2E (s)", "e2e_mean_s", lambda value: TableCell(f"{value}", note="low\nhigh" * (value < 2))
    )
    rows: int = hidden(len)


def test_a_table_is_made_of_its_declared_columns() -> None:
    rows = [{"model": None, "e2e_mean_s": 1.5}, {"model": "m", "e2e_mean_s": 2.5}]
    built = build(Times, rows)
    assert built == Times(model="m", e2e_s=1.5, rows=2)
    table = make_table(Times, [built])
    assert [each.title for each in table.columns] == ["Model", "E2E (s)"]
    assert [cell.text for cell in table.rows[0]] == ["m", "1.5"]


def test_notes_are_columns_of_their_own_only_where_there_are_any() -> None:
    table = make_table(Times, [Times("a, b", 1.0, 1), Times("c", 2.0, 1)])
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [
        ["Model", "E2E (s)", "E2E (s): note"],
        ["a, b", "1.0", "low; high"],
        ["c", "2.0", ""],
    ]


def test_a_column_of_short_times_is_in_milliseconds() -> None:
    shown = [Column("Wait (s)", time)]
    short = tabulate("waits", shown, [Interval(0.115, 0.1108, 0.1234), 1.5, 0.2], labels=0)
    assert list(csv.reader(io.StringIO(as_csv(short)))) == [
        ["Wait (ms)", "Wait (ms): note"],
        ["115", "111 to 123"],
        ["1,500", ""],
        ["200", ""],
    ]
    long = tabulate("waits", shown, [0.115, 1.5, None], labels=0)
    assert [each.title for each in long.columns] == ["Wait (s)"]
    assert [cell.text for (cell,) in long.rows] == ["0.115", "1.50", "\N{EN DASH}"]


def test_mean_and_percentiles_of_a_latency_have_one_unit() -> None:
    # Alone, the second column would be in seconds.
    shown = [
        Column("TTFT mean (s)", lambda row: time(row[0])),
        Column("TTFT p50 (s)", lambda row: time(row[1])),
        Column("E2E mean (s)", lambda row: time(row[2])),
    ]
    table = tabulate("times", shown, [(0.3, 1.2, 5.0), (0.4, 1.3, 6.0), (0.5, 0.9, 7.0)], labels=0)
    titles = ["TTFT mean (ms)", "TTFT p50 (ms)", "E2E mean (s)"]
    assert [each.title for each in table.columns] == titles
    assert [cell.text for cell in table.rows[0]] == ["300", "1,200", "5.00"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-0.123", "-0.123"),
        ("+0.400", "+0.400"),
        ("1,234", "1,234"),
        ("one\r\ntwo", "one; two"),
    ],
)
def test_no_cell_is_a_formula_or_more_than_a_line(text: str, written: str) -> None:
    table = make_table(Times, [Times(text, 2.0, 1)])
    assert list(csv.reader(io.StringIO(as_csv(table))))[1] == [written, "2.0"]


def test_a_p_value_has_two_digits() -> None:
    assert (p_value(0.0045, "").text, p_value(1.0, "").text) == ("0.0045", "1.0")
    assert p_value(None, "why") == number(None, "why")
