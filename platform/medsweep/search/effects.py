"""Main effects: how much each parameter changes a figure, with intervals, and which matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE = 0.05
"""A parameter matters below this p, corrected for the number of parameters (Holm, 1979)."""


@dataclass(frozen=True)
class Level:
    """One value of a parameter.

    Attributes:
        value: of the parameter.
        trials: number of trials with this value.
        effect: difference of the figure from its mean over all values.
        low, high: 95 % interval of the effect; None with too few trials.
    """

    value: float
    trials: int
    effect: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MainEffect:
    """The main effect of one parameter.

    Attributes:
        parameter: its name.
        levels: by value.
        share: share of the figure's variance that only this parameter explains.
        p: p value of the F test; None with too few trials.
        matters: whether the corrected p is below 0.05; None without p.
    """

    parameter: str
    levels: tuple[Level, ...]
    share: float
    p: float | None
    matters: bool | None


def main_effects(
    rows: Sequence[Mapping[str, Any]], parameters: Sequence[str], figure: str
) -> list[MainEffect]:
    """Return the main effect of each parameter that varies.

    An additive model, figure = mean + effect of each parameter + noise, is fitted by least squares
    with effects that sum to zero. Its residuals, interactions among them, give the intervals
    (Student's t) and the F test of each parameter against the model without it (type II).

    Args:
        rows: one per trial.
        parameters: columns of the parameters.
        figure: column of the figure.
    """
    usable = [row for row in rows if row.get(figure) is not None]
    varying = [name for name in parameters if len({row[name] for row in usable}) > 1]
    if not varying:
        return []
    y = np.array([row[figure] for row in usable], dtype=float)
    blocks = {name: _coded([row[name] for row in usable]) for name in varying}
    fit = _fit(y, list(blocks.values()))
    return _with_holm([_effect(name, usable, y, blocks, fit) for name in varying])


@dataclass(frozen=True)
class _Fit:
    coefficients: NDArray[np.float64]
    inverse: NDArray[np.float64]
    squares: float
    rank: int
    freedom: int


def _coded(values: Sequence[float]) -> NDArray[np.float64]:
    """Return (trials, values - 1) columns in which the last value is minus one in each."""
    levels = sorted(set(values))
    columns = np.zeros((len(values), len(levels) - 1))
    for row, value in enumerate(values):
        place = levels.index(value)
        columns[row] = -1.0 if place == len(levels) - 1 else np.eye(len(levels) - 1)[place]
    return columns


def _fit(y: NDArray[np.float64], blocks: Sequence[NDArray[np.float64]]) -> _Fit:
    design = np.column_stack([np.ones(len(y)), *blocks])
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ y
    residuals = y - design @ coefficients
    rank = int(np.linalg.matrix_rank(design))
    return _Fit(coefficients, inverse, float(residuals @ residuals), rank, len(y) - rank)


def _effect(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    y: NDArray[np.float64],
    blocks: Mapping[str, NDArray[np.float64]],
    fit: _Fit,
) -> MainEffect:
    from scipy import stats

    without = _fit(y, [block for other, block in blocks.items() if other != name])
    total = float(((y - y.mean()) ** 2).sum())
    explained = max(0.0, without.squares - fit.squares)
    # Without degrees of freedom there is no noise to compare with; and parameters that only vary
    # together add nothing to each other.
    added = fit.rank - without.rank
    noise: float | None = None
    p: float | None = None
    if fit.freedom > 0 and added > 0:
        noise = fit.squares / fit.freedom
        ratio = explained / added / max(noise, np.finfo(float).tiny)
        p = float(stats.f.sf(ratio, added, fit.freedom))
    names = list(blocks)
    start = 1 + sum(blocks[other].shape[1] for other in names[: names.index(name)])
    width = blocks[name].shape[1]
    values = sorted({row[name] for row in rows})
    levels = []
    for place, value in enumerate(values):
        pick = np.zeros(len(fit.coefficients))
        pick[start : start + width] = -1.0 if place == width else np.eye(width)[place]
        effect, trials = float(pick @ fit.coefficients), sum(row[name] == value for row in rows)
        if noise is None:
            levels.append(Level(value, trials, effect, None, None))
        else:
            error = float(np.sqrt(noise * (pick @ fit.inverse @ pick)))
            spread = float(stats.t.ppf(0.975, fit.freedom)) * error
            levels.append(Level(value, trials, effect, effect - spread, effect + spread))
    return MainEffect(name, tuple(levels), explained / total if total else 0.0, p, None)


def _with_holm(effects: Sequence[MainEffect]) -> list[MainEffect]:
    """Fill in `matters`: in order of p, each against 5 % over the number of tests left."""
    tested = sorted((e for e in effects if e.p is not None), key=lambda e: e.p or 0.0)
    verdict: dict[str, bool] = {}
    going = True
    for place, effect in enumerate(tested):
        going = going and (effect.p or 0.0) <= SIGNIFICANCE / (len(tested) - place)
        verdict[effect.parameter] = going
    return [
        MainEffect(e.parameter, e.levels, e.share, e.p, verdict.get(e.parameter)) for e in effects
    ]
