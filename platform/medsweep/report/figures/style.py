"""One look for every figure, its notice about the basis, and how it is written to files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.errors import EnvironmentFault
from medsweep.results.store import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 10.0
INK, MUTED, GRID, WARNING = "#1f2933", "#52606d", "#d9dee4", "#a33400"

# Okabe & Ito (2008): told apart with any kind of colour vision. Shape tells models apart as well.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

EMULATED = "EMULATED: not measured on the named hardware"
PREDICTED = "PREDICTED: computed, not measured"
OBSERVED = "Observed: measured on the named hardware"

_HEAD_IN = 0.72
_SETTINGS = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "medsweep",
}


def style() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn and written."""
    import matplotlib as mpl

    return mpl.rc_context(_SETTINGS)


def new_figure(title: str, bases: Iterable[str | None], height_in: float) -> Figure:
    """Return an empty figure with its title and the notice about the basis.

    Args:
        title: what it shows.
        bases: of all rows that it shows.
        height_in: of the part below the title, in inches.
    """
    from matplotlib.figure import Figure

    height = height_in + _HEAD_IN
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained", facecolor="white")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - _HEAD_IN / height))  # type: ignore[call-arg]
    figure.text(0.01, 1 - 0.1 / height, title, size=13, weight="bold", va="top")
    notices = _notices(set(bases))
    warns = notices != [OBSERVED]
    figure.text(
        0.01,
        1 - 0.4 / height,
        " · ".join(notices),
        size=10,
        weight="bold" if warns else "normal",
        color=WARNING if warns else MUTED,
        va="top",
    )
    return figure


def with_basis(name: str, bases: Iterable[str | None]) -> str:
    """Return a tick label: the name with each basis, such as "1xv100-1cpu (emulated)"."""
    found = ", ".join(dict.fromkeys(basis for basis in bases if basis))
    return f"{name} ({found})" if found else name


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write a figure as `<name>.svg` and `<name>.png`, the same bytes every time.

    Args:
        figure: what to write.
        folder: where; it is made if it is not there.
        name: of the files, without extension.

    Returns:
        The text of the SVG file.

    Raises:
        EnvironmentFault: no space, or no permission.
    """
    drawn = io.StringIO()
    picture = io.BytesIO()
    with style():
        # Nulls leave out the metadata block, which holds the date and outside addresses.
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", metadata=nothing)
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    # Widths were measured with DejaVu Sans, which is wide: any other sans-serif fits as well.
    text = re.sub(r"'DejaVu Sans'(, sans-serif)*", "sans-serif", drawn.getvalue())
    write_text(folder / f"{name}.svg", text)
    _write_bytes(folder / f"{name}.png", picture.getvalue())
    return text


def _write_bytes(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentFault(
            f"{path}: cannot be written: {error.strerror or error}"
        ) from None


def _notices(bases: set[str | None]) -> list[str]:
    notices = [
        notice
        for basis, notice in (("emulated", EMULATED), ("predicted", PREDICTED))
        if basis in bases
    ]
    return notices or ([OBSERVED] if "observed" in bases else ["Nothing was measured"])
