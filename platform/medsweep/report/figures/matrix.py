"""The matrix as a picture: state and token rate of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medsweep.digits import significant
from medsweep.loadgen.spec import load_in_words
from medsweep.report.figures.style import (
    INK,
    KEY_IN,
    MUTED,
    WARNING,
    label_width_in,
    mark,
    new_figure,
    short_label,
    style,
    with_basis,
)
from medsweep.report.numbers import seconds, share
from medsweep.report.tables.matrix import NOT_IN_SWEEP, Matrix, MatrixCell, matrix
from medsweep.results.aggregate import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

_COLUMNS_UPRIGHT = 8

# Letters on coloured cells: the page's theme must not change them.
_DARK, _LIGHT = "#010101", "#fefefe"
_EDGE, _NOT_OBSERVED, _REFUSED = "#b8c0c8", "#d3d8dd", "#eceff2"


def matrix_figure(rows: Sequence[Row]) -> Figure:
    """Draw hardware profiles by models, coloured by output tokens per second where observed.

    Args:
        rows: of `benchmark.parquet`.
    """
    from matplotlib.colors import LogNorm

    table = matrix(rows)
    rates = [
        cell.output_tokens_per_s
        for cell in table.cells
        if cell.output_tokens_per_s and cell.basis == "observed"
    ]
    above = 0.5 if len(table.models) <= _COLUMNS_UPRIGHT else 1.2
    with style():
        figure, [axes] = new_figure(
            "State and token rate of every cell",
            [cell.basis for cell in table.cells],
            1,
            1,
            0.5 * max(1, len(table.profiles)),
            left_in=label_width_in(_profile_labels(table)),
            right_in=KEY_IN,
            above_in=above,
            below_in=0.1,
        )
        scale = LogNorm(min(rates) / 1.2, max(rates) * 1.2) if rates else None
        for cell in table.cells:
            _draw(axes, cell, table, scale)
        _label(axes, table)
        _add_legend(axes, table, rates, scale)
    return figure


def _add_legend(axes: Axes, table: Matrix, rates: Sequence[float], scale: LogNorm | None) -> None:
    """Explain the colours and hatchings that the matrix has."""
    from matplotlib.patches import Patch

    entries: dict[str, dict[str, Any]] = {
        f"observed, {_rate(rate)}": {"facecolor": _colour(rate, scale)}
        for rate in sorted({min(rates), max(rates)} if rates else (), reverse=True)
        if scale is not None
    }
    others = dict.fromkeys(cell.basis for cell in table.cells if cell.state == "ok")
    others.pop("observed", None)
    if others:
        entries[f"{', '.join(map(str, others))}: not compared"] = {"facecolor": _NOT_OBSERVED}
    if table.count("failed"):
        entries["failed"] = {"facecolor": "white", "edgecolor": WARNING, "hatch": "xx"}
    if table.count("refused"):
        entries["refused: would not fit"] = {"facecolor": _REFUSED, "hatch": "//"}
    if table.count(NOT_IN_SWEEP):
        entries[NOT_IN_SWEEP] = {"facecolor": "white"}
    handles = [
        Patch(**{"edgecolor": _EDGE, **look}, label=label) for label, look in entries.items()
    ]
    if handles:
        axes.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            fontsize=8,
            handleheight=1.4,
        )


def _label(axes: Axes, table: Matrix) -> None:
    axes.set_xlim(0, max(1, len(table.models)))
    axes.set_ylim(max(1, len(table.profiles)), 0)
    axes.grid(visible=False)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    upright = len(table.models) <= _COLUMNS_UPRIGHT
    axes.set_xticks(
        [place + 0.5 for place in range(len(table.models))],
        [short_label(name).replace("standin-", "standin-\n") for name in table.models],
        rotation=0 if upright else 35,
        ha="center" if upright else "left",
    )
    axes.set_yticks(
        [place + 0.5 for place in range(len(table.profiles))],
        _profile_labels(table),
    )


def _profile_labels(table: Matrix) -> list[str]:
    return [with_basis(name, table.profile_bases(name)) for name in table.profiles]


def _draw(axes: Axes, cell: MatrixCell, table: Matrix, scale: LogNorm | None) -> None:
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    left, top = table.models.index(cell.model), table.profiles.index(cell.profile)
    face, edge, hatch, ink = "white", _EDGE, None, MUTED
    text = cell.state
    if cell.state == "ok":
        text = "ok" if cell.output_tokens_per_s is None else _rate(cell.output_tokens_per_s)
        if cell.basis != "observed":
            face, ink = _NOT_OBSERVED, _DARK
        elif cell.output_tokens_per_s and scale is not None:
            face = _colour(cell.output_tokens_per_s, scale)
            red, green, blue = (
                part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
                for part in mpl.colors.to_rgb(face)
            )
            # At this relative luminance (WCAG 2) black and white letters stand out as much.
            ink = _DARK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else _LIGHT
        else:
            ink = INK
    elif cell.state == "failed":
        edge, hatch, ink = WARNING, "xx", WARNING
    elif cell.state == "refused":
        face, hatch, ink = _REFUSED, "//", _DARK
    patch = axes.add_patch(
        Rectangle((left + 0.03, top + 0.05), 0.94, 0.9, facecolor=face, edgecolor=edge, hatch=hatch)
    )
    mark(patch, cell.model, cell.profile, _tip(cell))
    # A plain background keeps the word legible on hatching.
    box = {"facecolor": face, "edgecolor": "none", "pad": 2.0} if hatch else None
    word = axes.text(
        left + 0.5,
        top + 0.5,
        text,
        ha="center",
        va="center",
        color=ink,
        size=8 if cell.state == NOT_IN_SWEEP else 9,
        bbox=box,
    )
    mark(word, cell.model, cell.profile)


def _colour(tokens_per_s: float, scale: LogNorm) -> str:
    import matplotlib as mpl

    return mpl.colors.to_hex(mpl.colormaps["cividis"](scale(tokens_per_s)))


def _tip(cell: MatrixCell) -> str:
    label = f"{cell.model} on {cell.profile}: {cell.state}"
    if cell.state != "ok":
        return f"{label}, {cell.reason}" if cell.reason else label
    return (
        f"{label} ({cell.basis}), token F1 {share(cell.token_f1)}, TTFT {seconds(cell.ttft)} "
        f"at {load_in_words(str(cell.load_point))}"
    )


def _rate(tokens_per_s: float) -> str:
    return f"{significant(tokens_per_s)} tokens/s"
