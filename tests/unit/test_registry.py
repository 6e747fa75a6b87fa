import pytest

from medsweep.errors import UnknownName
from medsweep.registry import Registry


@pytest.fixture
def shapes() -> Registry[type]:
    registry: Registry[type] = Registry("shape")

    @registry.register("circle")
    class Circle:
        pass

    @registry.register("square")
    class Square:
        pass

    return registry


def test_register_leaves_the_class_as_it_is(shapes: Registry[type]) -> None:
    assert shapes["circle"].__name__ == "Circle"
    assert (list(shapes), len(shapes)) == (["circle", "square"], 2)


def test_a_miss_lists_the_known_names(shapes: Registry[type]) -> None:
    with pytest.raises(UnknownName, match="unknown shape 'cirkle'.*did you mean 'circle'") as miss:
        shapes["cirkle"]
    assert miss.value.known == ["circle", "square"]


def test_asking_whether_a_name_is_known_does_not_raise(shapes: Registry[type]) -> None:
    assert "circle" in shapes
    assert "hexagon" not in shapes
