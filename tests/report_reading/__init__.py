"""Reads a report: what each cell of each table should say, computed from the raw files alone.

Nothing of the package is used here, so that a definition that is wrong there is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from report_reading.choice import Choice
from report_reading.machines import Machines
from report_reading.paper import Paper
from report_reading.printed import Below, Expected, Text, agrees
from report_reading.speed import Speed


class Reading(Choice, Speed, Paper, Machines):
    """What the tables of a report should say, by the name of each."""


KEYS = {
    "decision": ("Model", "Profile", "Basis"),
    "matrix": ("Hardware profile",),
    "latency": ("Model", "Profile", "Load", "Variant"),
    "spread": ("Model", "Profile", "Load", "Variant", "Basis", "Figure"),
    "bound": ("Model", "Profile", "Load", "Basis"),
    "quality": ("Model", "Variant", "Basis"),
    "paired": ("Model", "Figure", "Basis"),
    "throughput": ("Model", "Profile", "Load", "Basis"),
    "worst": ("Model", "Question", "Answer"),
    "worsened": ("Model", "Question"),
    "meter": ("Figure",),
    "cost": ("Model", "Profile", "Basis"),
    "roofline": ("Model", "Profile", "Load"),
    "training": ("Model", "Epoch"),
    "paper_cells": ("Model", "Profile", "Basis"),
    "paper": ("Model", "Source"),
    "paper_figures": ("Model", "Basis", "Figure"),
    "failures": ("Model", "Profile", "Status"),
    "cpus": ("Profile",),
    "hosts": ("Machine",),
}
"""What names a row of each table; every other column is computed again."""


def misprints(reading: Reading, name: str, rows: Sequence[Text]) -> list[str]:
    """Return what a table says wrongly, and the columns that nothing here computes."""
    found = []
    compute: Callable[[Text], Expected] = getattr(reading, name)
    for row in rows:
        expected = compute(row)
        subject = " ".join(row.get(key, "") for key in KEYS[name])
        for title, text in row.items():
            if title in KEYS[name]:
                continue
            in_s = title.replace("(ms)", "(s)")
            if in_s not in expected:
                found.append(f"{name}, {subject}: nobody reads {title}")
                continue
            wanted = expected[in_s] if in_s == title else _in_ms(expected[in_s])
            # A time with an interval is rounded to what this bears.
            tens = "(s)" in in_s and bool(row.get(f"{title.removesuffix(': note')}: note"))
            if not agrees(text, wanted, tens=tens):
                found.append(f"{name}, {subject}: {title}: {text!r}, not {wanted!r}")
    return found


def _in_ms(expected: object) -> object:
    """Return what is expected of a time, or of several, in milliseconds."""
    if isinstance(expected, Below):
        return Below(1000 * expected.amount)
    if isinstance(expected, float):
        return 1000 * expected
    return [1000 * each for each in expected] if isinstance(expected, list) else expected
