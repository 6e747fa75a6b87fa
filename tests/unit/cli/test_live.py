"""The table of a load test."""

import io
from collections import Counter
from dataclasses import replace

import pytest

from made_rows import summarise
from medsweep.cli.live import COLUMNS, Live
from medsweep.loadgen.bench import MeasuredPoint
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.fleet import LoadProgress
from medsweep.loadgen.spec import LoadPoint
from terminal import Terminal

POINT = LoadPoint(concurrency=4, requests=200)


def table(measured: MeasuredPoint) -> list[str]:
    rows = io.StringIO()
    Live(1, rows, io.StringIO()).add(measured)
    return rows.getvalue().splitlines()


def test_every_column_says_what_it_is_in() -> None:
    """Seconds and milliseconds side by side without a word are a mistake of other tools."""
    named = [name.split() for name, _ in COLUMNS]
    assert len(named) == 9
    for words in named[2:]:
        assert {"ms", "s", "req/s", "tokens/s"} & set(words), words


def test_figures_are_in_the_unit_of_their_column() -> None:
    latencies = {
        **figures_of([], POINT).latencies,
        "ttft": summarise([0.25] * 130),
        "tpot": summarise([0.01]),
        "e2e": summarise([1.5] * 130),
    }
    found = replace(
        figures_of([], POINT), ok=130, sent=131, latencies=latencies, requests_per_s=2.5,
        output_tokens_per_s=80.0, failed_by_kind={"timeout": 1},
    )  # fmt: skip
    header, row, *notes = table(MeasuredPoint(POINT, 1, found))
    assert row.split() == [
        "c4",
        "130/131",
        "250.0",
        "250.0",
        "10.0",
        "1.500",
        "1.500",
        "2.50",
        "80.0",
    ]
    assert len(row) == len(header)
    assert notes == ["    failed: timeout 1"]


def test_a_percentile_with_too_few_requests_is_a_dash() -> None:
    latencies = {**figures_of([], POINT).latencies, "ttft": summarise([0.25] * 129)}
    _, row, *_ = table(MeasuredPoint(POINT, 1, replace(figures_of([], POINT), latencies=latencies)))
    assert row.split()[2:4] == ["250.0", "-"]


@pytest.mark.parametrize(
    ("met", "reason", "said"),
    [
        (True, None, "meets the objectives"),
        (False, None, "misses the objectives"),
        (
            None,
            "p needs 130 requests",
            "not known whether it meets the objectives: p needs 130 requests",
        ),
    ],
)
def test_verdict_has_three_values(met: bool | None, reason: str | None, said: str) -> None:
    measured = MeasuredPoint(POINT, 1, figures_of([], POINT), met=met, met_reason=reason)
    assert table(measured)[2:] == [f"    {said}"]


def test_progress_is_one_line_on_a_terminal_and_rare_lines_without() -> None:
    progress = LoadProgress(Counter({"ok": 7, "timeout": 2}), 4, ())
    said = "[1/3, 0 s] 4 clients, repeat 2: 9/204 ended, 2 failed (timeout 2)"
    terminal, plain = Terminal(), io.StringIO()
    now = [100.0]
    for stream in (terminal, plain):
        live = Live(3, io.StringIO(), stream, now=lambda: now[0])
        live.show(POINT, 2, progress)
        live.show(POINT, 2, progress)
    assert terminal.screen() == [said]
    assert plain.getvalue() == ""
    # 12 more requests in 8 seconds.
    now[0] += 8.0
    later = LoadProgress(Counter({"ok": 21}), 4, (), ttft_mean_s=0.25)
    terminal = Terminal()
    live = Live(3, io.StringIO(), terminal, now=lambda: now[0])
    live.show(POINT, 2, progress)
    now[0] += 8.0
    live.show(POINT, 2, later)
    said = "[1/3, 8 s] 4 clients, repeat 2: 21/204 ended, 1.5 req/s, TTFT 250 ms"
    assert terminal.screen() == [said]
