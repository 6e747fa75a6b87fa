"""`medsweep compare RESULTS paper`: results beside the paper's own tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import show
from medsweep.errors import InputError

if TYPE_CHECKING:
    from medsweep.report.tables.paper_cells import PaperCell
    from medsweep.report.tables.paper_figures import PaperFigure

PAPER = "paper"
"""Given in place of the second results."""


def compare_paper(path: str, *, as_json: bool) -> None:
    """Print every figure and every cell beside the paper's, and the known faults of its tables.

    Args:
        path: results.
        as_json: print JSON.

    Raises:
        InputError: there are no results, or none of a model that the paper has.
    """
    from medsweep.report.paper import KNOWN_INCONSISTENCIES, TABLE_4
    from medsweep.report.tables.paper_cells import paper_cells
    from medsweep.report.tables.paper_figures import paper_figures
    from medsweep.results.reader import Results

    rows = Results.open(path).rows
    figures, cells = paper_figures(rows), paper_cells(rows)
    if not figures and not cells:
        known = ", ".join(result.model for result in TABLE_4)
        raise InputError(f"{path}: no measured cell of a model that the paper has: {known}")
    if as_json:
        document = {
            "figures": [asdict(each) for each in figures],
            "cells": [asdict(each) for each in cells],
            "inconsistencies": KNOWN_INCONSISTENCIES,
        }
        print(json.dumps(document, indent=2))
        return
    print("figures, ours and the paper's Table 4:")
    show([_figure(each) for each in figures], as_json=False)
    print("\nresponse times, cell by cell, at the lightest load point:")
    show([_cell(each) for each in cells], as_json=False)
    print("\nlikely reasons:")
    for each in cells:
        print(f"  {each.model}@{each.profile}: {each.reason}")
    print("\nknown inconsistencies of the paper:")
    for number, sentence in enumerate(KNOWN_INCONSISTENCIES, 1):
        print(f"{number:3}. {sentence}")
    print("\nThe two cannot be compared one to one; no difference here is called a regression.")


def _figure(each: PaperFigure) -> dict[str, Any]:
    return {
        "model": each.model,
        "basis": each.basis,
        "figure": each.figure,
        "ours": None if each.ours is None else f"{each.ours:.3g}",
        "paper": f"{each.paper:g}",
        "why they may differ": each.why,
    }


def _cell(each: PaperCell) -> dict[str, Any]:
    from medsweep.loadgen.spec import load_in_words
    from medsweep.report.numbers import figure

    stated = "; ".join(f"{one.low_s:g} to {one.high_s:g} s" for one in each.stated)
    return {
        "cell": f"{each.model}@{each.profile}",
        "basis": each.basis,
        "load": load_in_words(each.load_point),
        "in Table 3": "yes" if each.in_table_3 else "no",
        "ours (s)": figure(each.ours),
        "Table 4 (s)": f"{each.table_4_s:.2f}",
        "paper/ours": f"{each.factor:.3g}",
        "its text": stated or None,
    }
