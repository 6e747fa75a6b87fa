from __future__ import annotations

import pytest

from medsweep.cli import main
from medsweep.cli.text_table import layout

ROWS = [
    ["what", "finding", "n"],
    ["first", "a short one", "1"],
    ["second", "one with quite some more words in it than the first one has", "22"],
]


def test_without_a_width_each_row_is_one_line() -> None:
    assert layout(ROWS, None) == [
        f"what    finding{' ' * 54}n",
        f"first   a short one{' ' * 50}1",
        "second  one with quite some more words in it than the first one has  22",
    ]


def test_the_widest_cells_are_wrapped() -> None:
    lines = layout(ROWS, 44)
    assert max(map(len, lines)) <= 44
    assert [line[8:40].strip() for line in lines[2:]] == [
        "one with quite some more words",
        "in it than the first one has",
    ]
    assert [line[40:].strip() for line in lines] == ["n", "1", "22", ""]


def test_far_too_many_columns_become_a_block_for_each_row() -> None:
    table = [[f"column {n}" for n in range(12)], [f"value {n}" for n in range(12)]]
    lines = layout(table, 80)
    assert lines[0] == "column 0 value 0"
    assert lines[1] == "  column 1   value 1"
    assert len(lines) == 12


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("hardware",),
        ("datasets",),
        ("engines", "list"),
        ("plan", "jobs/sweeps/matrix.yaml"),
        ("plan", "jobs/sweeps/matrix.yaml", "--set", "serve.dtype=bfloat16"),
    ],
)
def test_tables_fit_80_columns(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == 0
    printed = capsys.readouterr().out
    table = printed.split("\n\n")[0]
    assert len(table.splitlines()) > 4
    assert [line for line in table.splitlines() if len(line) > 80] == []
