"""Names beside marks that neither cover each other nor leave the panel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medsweep.report.figures.style import INK, MUTED, mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_MARK, _GAP, _RINGS = 5.0, 6.0, 6
# Widths and heights per point of size: measured with DejaVu Sans, which is wide.
_WIDTH, _HEIGHT = 0.64, 1.2

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points."""


def place_labels(
    axes: Axes,
    labels: Sequence[tuple[float, float, str]],
    marks: Sequence[tuple[float, float]],
    size: float = 8,
    colour: str = INK,
) -> list[Annotation]:
    """Write a name beside each of several marks, the nearest free place first.

    Args:
        axes: whose limits are set.
        labels: mark and name.
        marks: all marks of the panel, which no name may cover.
        size: of the letters, in points.
        colour: of the letters.

    Returns:
        The names in their order; one that is far from its mark has a line to it.
    """
    points_per_pixel = 72 / axes.figure.dpi
    left, bottom, right, top = (float(end) * points_per_pixel for end in axes.bbox.extents)
    taken = [
        (x - _MARK, y - _MARK, x + _MARK, y + _MARK)
        for x, y in (axes.transData.transform(mark) * points_per_pixel for mark in marks)
    ]
    written = []
    for x, y, name in labels:
        at_x, at_y = axes.transData.transform((x, y)) * points_per_pixel
        width, height = _WIDTH * size * len(name), _HEIGHT * size

        def cost(box: Box) -> float:
            outside: float = max(left - box[0], box[2] - right, bottom - box[1], box[3] - top, 0.0)
            return 1000 * outside + sum(_overlap(box, other) for other in taken)

        places = [
            (ring, (at_x + dx, at_y + dy, at_x + dx + width, at_y + dy + height))
            for ring, dx, dy in _offsets(width, height)
        ]
        ring, box = min(places, key=lambda place: (cost(place[1]), place[0]))
        taken.append(box)
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6} if ring else None
        written.append(
            axes.annotate(
                name,
                (x, y),
                (box[0] - at_x, box[1] - at_y),
                textcoords="offset points",
                size=size,
                color=colour,
                arrowprops=line,
            )
        )
    return written


def mark_label(label: Annotation, model: str, profile: str) -> None:
    """Say what a name, and the line to its mark, are of."""
    mark(label, model, profile)
    if label.arrow_patch is not None:
        mark(label.arrow_patch, model, profile)


def _offsets(width: float, height: float) -> Iterator[tuple[int, float, float]]:
    """Yield distances of a name's lower left corner from its mark, by rings around it."""
    for ring in range(_RINGS):
        gap = _GAP + ring * height
        for dy in (gap - _GAP / 2, -height - gap + _GAP / 2, -height / 2):
            yield ring, gap, dy
            yield ring, -width - gap, dy
        yield ring, -width / 2, gap
        yield ring, -width / 2, -height - gap


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return across * up if across > 0 and up > 0 else 0.0
