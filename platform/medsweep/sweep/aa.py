"""An A/A run: one cell under two names must show no difference."""

from __future__ import annotations

from dataclasses import replace

from medsweep.comparison.finding import Finding
from medsweep.comparison.sets import Comparison, compare_sets
from medsweep.comparison.speed import TESTED
from medsweep.errors import InputError
from medsweep.results.reader import Results
from medsweep.sweep.plan import Plan
from medsweep.sweep.resolve import Resolved, resolve
from medsweep.sweep.spec import SweepSpec

TWIN = "-twin"


def twin_sweep(spec: SweepSpec) -> Resolved:
    """Return a sweep of one cell and the same cell under another name.

    Both are deployed together, like any two cells of a sweep, and their repeats are interleaved in
    shuffled order. Unless the sweep says how often, both are deployed anew for every repeat. Any
    difference between them comes from the way of measuring.

    Args:
        spec: the sweep; its first cell that can run is used.

    Raises:
        InputError: no cell can run, or there are too few repeats to tell a difference from noise.
    """
    if spec.load.repeats < 2:
        raise InputError(
            f"load.repeats is {spec.load.repeats}: one repeat has no spread to compare with; "
            "give 2 or more, such as --set load.repeats=3"
        )
    load = spec.load.model_copy(update={"compare_base": False})
    if "deployments" not in spec.load.model_fields_set:
        load = load.model_copy(update={"deployments": spec.load.repeats})
    name = f"{spec.name[: 40 - len('-aa')]}-aa"
    resolved = resolve(spec.model_copy(update={"name": name, "load": load, "cells_together": 2}))
    if not resolved.plan.runnable:
        reasons = {cell.name: cell.refused for cell in resolved.plan.cells}
        each = "; ".join(f"{cell}: {reason}" for cell, reason in reasons.items())
        raise InputError(f"{spec.name}: no cell can run: {each}")
    cell = resolved.plan.runnable[0]
    # A node is selected by its profile's name, so the profile gets the second name.
    profile = replace(cell.profile, name=cell.profile.name + TWIN)
    other = replace(cell, profile=profile, key=f"{cell.key[: -len(TWIN)]}{TWIN}")
    adapters = {cell.adapter: resolved.plan.adapters[cell.adapter]}
    return replace(resolved, plan=Plan((cell, other), adapters))


def blind_spots(comparison: Comparison, tolerance: float) -> list[Finding]:
    """Return the figures of speed in which the run could not have seen a difference of interest.

    Args:
        comparison: of the two names.
        tolerance: the smallest difference of interest, as a share.
    """
    return [
        each
        for each in comparison.findings
        if each.figure in TESTED
        and (each.could_see_share is None or each.could_see_share > tolerance)
    ]


def compare_twins(results: Results) -> Comparison:
    """Compare the two names of an A/A run.

    Args:
        results: of the sweep that `twin_sweep` returned.

    Raises:
        InputError: they have no load point in common, because one of them failed.
    """
    sides: tuple[list[dict[str, object]], list[dict[str, object]]] = ([], [])
    for row in results.rows:
        name = str(row["profile"])
        sides[name.endswith(TWIN)].append({**row, "profile": name.removesuffix(TWIN)})
    first, second = (results.part(rows) for rows in sides)
    return compare_sets(first, second)
