from dataclasses import dataclass

import pytest

from medsweep.errors import UnknownName
from medsweep.table import NamedTable


@dataclass(frozen=True)
class Shape:
    name: str
    corners: int = 0


SHAPES = NamedTable("shape", [Shape("circle"), Shape("square", 4)])


def test_entries_are_found_by_name_in_their_order() -> None:
    assert SHAPES["square"].corners == 4
    assert (list(SHAPES), len(SHAPES)) == (["circle", "square"], 2)


def test_a_miss_lists_the_known_names() -> None:
    with pytest.raises(UnknownName, match="unknown shape 'cirkle'.*did you mean 'circle'") as miss:
        SHAPES["cirkle"]
    assert miss.value.known == ["circle", "square"]


def test_asking_whether_a_name_is_known_does_not_raise() -> None:
    assert "circle" in SHAPES
    assert "hexagon" not in SHAPES


def test_an_extended_table_is_another_one() -> None:
    more = SHAPES.extended([Shape("hexagon", 6), Shape("square", 5)])
    assert list(more) == ["circle", "square", "hexagon"]
    assert (more["square"].corners, SHAPES["square"].corners) == (5, 4)
    assert "hexagon" not in SHAPES
