"""The matrix as a picture: state and token rate of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medsweep.report.figures.style import (
    INK,
    MUTED,
    WARNING,
    add_panels,
    label_width_in,
    mark,
    new_figure,
    short_label,
    style,
    with_basis,
)
from medsweep.report.numbers import seconds, share, significant
from medsweep.report.tables.matrix import NOT_IN_SWEEP, Matrix, MatrixCell, matrix
from medsweep.results.aggregate import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

_COLUMNS_UPRIGHT = 8

# Letters on coloured cells: the page's theme must not change them.
_DARK, _LIGHT = "#1a1f24", "#fdfdfd"


def matrix_figure(rows: Sequence[Row]) -> Figure:
    """Draw hardware profiles by models, coloured by output tokens per second.

    Args:
        rows: of `benchmark.parquet`.
    """
    from matplotlib.colors import LogNorm

    table = matrix(rows)
    rates = [cell.output_tokens_per_s for cell in table.cells if cell.output_tokens_per_s]
    above = 0.5 if len(table.models) <= _COLUMNS_UPRIGHT else 1.2
    with style():
        figure = new_figure(
            "State and token rate of every cell: lighter is faster",
            [cell.basis for cell in table.cells],
            above + 0.1 + 0.5 * max(1, len(table.profiles)),
        )
        room = label_width_in(_profile_labels(table))
        axes = add_panels(figure, 1, 1, left_in=room, above_in=above, below_in=0.1)[0]
        scale = LogNorm(min(rates) / 1.2, max(rates) * 1.2) if rates else None
        for cell in table.cells:
            _draw(axes, cell, table, scale)
        _label(axes, table)
    return figure


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
    face, edge, hatch, ink = "white", "#b8c0c8", None, MUTED
    text = cell.state
    if cell.state == "ok":
        text = "ok" if cell.output_tokens_per_s is None else _rate(cell.output_tokens_per_s)
        if cell.output_tokens_per_s and scale is not None:
            red, green, blue, _ = mpl.colormaps["cividis"](scale(cell.output_tokens_per_s))
            face = mpl.colors.to_hex((red, green, blue))
            # Rec. 709 luma decides between dark and light letters.
            ink = _DARK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else _LIGHT
        else:
            ink = INK
    elif cell.state == "failed":
        edge, hatch, ink = WARNING, "xx", WARNING
    elif cell.state == "refused":
        face, hatch, ink = "#eceff2", "//", _DARK
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


def _tip(cell: MatrixCell) -> str:
    label = f"{cell.model} on {cell.profile}: {cell.state}"
    if cell.state != "ok":
        return f"{label}, {cell.reason}" if cell.reason else label
    return (
        f"{label} ({cell.basis}), token F1 {share(cell.token_f1)}, TTFT {seconds(cell.ttft)} "
        f"at {cell.load_point}"
    )


def _rate(tokens_per_s: float) -> str:
    return f"{significant(tokens_per_s)} tokens/s"
