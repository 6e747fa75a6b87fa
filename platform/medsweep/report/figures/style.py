"""One look for every figure, its notice about the basis, and how it is written to files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.report.tables.grouping import profile_order
from medsweep.reporter import harmless
from medsweep.results.aggregate import Row, distinct
from medsweep.results.store import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 11.5
INK, MUTED, GRID, WARNING = "#1f2933", "#52606d", "#d9dee4", "#a33400"

# The first four are of Okabe & Ito (2008), told apart with any kind of colour vision. Each has a
# contrast of at least 3 on a light and on a dark page.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#c2649a", "#8f6bd1", "#8a5a2b", "#6b7f00", "#c0392b",
    "#2a8f9d", "#6b7785",
)  # fmt: skip
MODEL_PALETTE = ("#1f2933", "#a35200", "#486581", "#8b3a62", "#5c7029")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

EMULATED = "EMULATED: not measured on the named hardware"
PREDICTED = "PREDICTED: computed, not measured"
OBSERVED = "Observed: measured on the named hardware"
UNKNOWN = "NOT RECORDED whether it ran on the named hardware"

NOT_RECORDED = "not recorded"
"""Basis of a fine-tune of an earlier version."""

# Line art hardly gets smaller with more effort, which takes longer than drawing it.
_PNG = {"compress_level": 2}
_HEAD_IN = 0.72
KEY_IN = 2.3
PALE = 0.45
"""Opacity of what was not observed."""
_LONGEST_LABEL = 40

# A group of the SVG whose id begins so is a mark: of which model and profile, and its tip.
_MARK = "mark: "
_APART = "\N{INVISIBLE SEPARATOR}"
_TIP_SIZE = 110
_TIP_AREA = "_tip_area"
_SETTINGS: Any = {
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
    "text.parse_math": False,  # a model's name may hold dollar signs
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


def new_figure(
    title: str,
    bases: Iterable[str | None],
    down: int,
    across: int,
    height_in: float,
    *,
    left_in: float,
    right_in: float = 0.15,
    above_in: float = 0.35,
    below_in: float = 0.5,
    gap_in: float = 0.25,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with its title and the notice about the basis, and its empty panels by row.

    matplotlib's own layout engines measure every text several times, which takes longer than
    drawing; here what surrounds the panels is known.

    Args:
        title: what it shows.
        bases: of all rows that it shows.
        down: rows of panels, at least 1.
        across: panels in a row, at least 1.
        height_in: of a panel, in inches.
        left_in: room for the labels at the left.
        right_in: room at the right.
        above_in: room above each row of panels.
        below_in: room below each row.
        gap_in: room between two panels of a row.
    """
    from matplotlib.figure import Figure

    width, height = WIDTH_IN, down * (height_in + above_in + below_in) + _HEAD_IN
    figure = Figure(figsize=(width, height), facecolor="white")
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
    panels = figure.subplots(
        down,
        across,
        squeeze=False,
        gridspec_kw={
            "left": left_in / width,
            "right": 1 - right_in / width,
            "top": 1 - (_HEAD_IN + above_in) / height,
            "bottom": below_in / height,
            "wspace": gap_in * across / (width - left_in - right_in - gap_in * (across - 1)),
            "hspace": (above_in + below_in) / height_in,
        },
    )
    return figure, list(panels.flat)


def label_width_in(labels: Iterable[str]) -> float:
    """Return the room that tick labels want at most, in inches."""
    return 0.3 + 0.082 * max((len(label) for label in labels), default=0)


def short_label(name: str) -> str:
    """Return a name that fits beside a panel: without control characters, and cut in its middle."""
    name = harmless(name)
    return name if len(name) <= _LONGEST_LABEL else f"{name[:24]}…{name[-15:]}"


def with_basis(name: str, bases: Iterable[str | None]) -> str:
    """Return a tick label: the name with each basis, such as "1xv100-1cpu (emulated)"."""
    known = ", ".join(dict.fromkeys(basis for basis in bases if basis))
    return f"{short_label(name)} ({known})" if known else short_label(name)


def profile_colours(rows: Iterable[Row]) -> dict[str, str]:
    """Return the colour of each hardware profile, the same in all figures of a page.

    Args:
        rows: all of `benchmark.parquet`.
    """
    names = sorted(distinct(rows, "profile"), key=profile_order)
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def add_key(
    figure: Figure,
    colours: Mapping[str, str],
    labels: Mapping[str, str],
    models: Sequence[str] = (),
) -> None:
    """Add the key at the right of a figure: colours of the profiles, shapes of the models.

    Args:
        figure: whose panels leave `KEY_IN` at the right.
        colours: of the profiles.
        labels: of the profiles that it shows.
        models: whose shapes it explains, in their order; one alone needs no entry.
    """
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=colours[name], marker="s", linestyle="", label=label)
        for name, label in labels.items()
    ]
    entries += [
        Line2D([], [], color=MUTED, marker=marker_of(models, name), linestyle="", label=name)
        for name in (models if len(models) > 1 else ())
    ]
    width, height = figure.get_size_inches()
    place = (1 - (KEY_IN - 0.1) / width, 1 - (_HEAD_IN + 0.25) / height)
    figure.legend(handles=entries, loc="upper left", bbox_to_anchor=place, fontsize=8)


def marker_of(names: Sequence[str], name: str) -> str:
    """Return the shape of one of several names."""
    return MARKERS[names.index(name) % len(MARKERS)]


def mark(artist: Artist, model: str, profile: str | None = None, text: str = "") -> None:
    """Say what a mark is of, so that the page can filter it and show its value.

    Args:
        artist: a bar, point, line or label.
        model: name of the model.
        profile: hardware profile; None for a mark of all.
        text: the value in words, shown where the mark is pointed at; empty for none.
    """
    artist.set_gid(_MARK + _APART.join((model, profile or "", text)))


def mark_point(
    axes: Axes, point: tuple[float, float], model: str, profile: str | None, text: str
) -> None:
    """Add a text to a point of a line, on an area that is wide enough to point at."""
    area = axes.scatter([point[0]], [point[1]], s=_TIP_SIZE, alpha=0, linewidths=0, label=_TIP_AREA)
    mark(area, model, profile, text)


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
        # Nothing can be pointed at in a PNG, and drawing what is not seen takes its time too.
        for area in figure.findobj(lambda artist: artist.get_label() == _TIP_AREA):
            area.set_visible(False)
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None}, pil_kwargs=_PNG)
    # Widths were measured with DejaVu Sans, which is wide: any other sans-serif fits as well.
    text = re.sub(r"'DejaVu Sans'(, sans-serif)*", "sans-serif", drawn.getvalue())
    text = re.sub(rf'<g id="{_MARK}([^"]*)">', _marked, text)
    write_text(folder / f"{name}.svg", text)
    write_bytes(folder / f"{name}.png", picture.getvalue())
    return text


def _marked(group: re.Match[str]) -> str:
    model, profile, text = group[1].split(_APART)
    names = f'data-model="{model}" data-profile="{profile}"'
    return f'<g class="tip" {names}><title>{text}</title>' if text else f"<g {names}>"


def _notices(bases: set[str | None]) -> list[str]:
    notices = [
        notice
        for basis, notice in (
            ("emulated", EMULATED),
            ("predicted", PREDICTED),
            (NOT_RECORDED, UNKNOWN),
        )
        if basis in bases
    ]
    if not notices:
        return [OBSERVED] if "observed" in bases else ["Nothing was measured"]
    return [*notices, "what is marked (observed) was measured"] if "observed" in bases else notices
