import csv
import io

from medsweep.report.tables_csv import as_csv
from medsweep.report.view import Cell, View, headings


def test_notes_are_columns_of_their_own_only_where_there_are_any() -> None:
    view = View(
        "times",
        headings("Model", "E2E (s)"),
        (
            (Cell("a, b"), Cell("1.0", note="0.9 to 1.1\nmax 2")),
            (Cell("c"), Cell("2.0")),
        ),
    )
    assert list(csv.reader(io.StringIO(as_csv(view)))) == [
        ["Model", "E2E (s)", "E2E (s): note"],
        ["a, b", "1.0", "0.9 to 1.1; max 2"],
        ["c", "2.0", ""],
    ]
