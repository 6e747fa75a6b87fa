"""Closed, frozen configuration: reads YAML, returns a validated model, lists all faults by line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from medsweep.errors import ConfigError, Fault, InputError, cause_of, did_you_mean

Location = tuple[str | int, ...]

# The loader in C takes a tenth of the time for a sweep of 10,000 cells; not every build has it.
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A file that holds more, or that is nested deeper, is no configuration: aliases of aliases make
# billions of values of a few lines.
_MOST_VALUES, _DEEPEST = 50_000, 50
# What a wrong value after a tag, such as `!!bool maybe`, raises.
_TAG_ERRORS = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)


class _Loader(_SAFE):  # type: ignore[misc]
    """Reads numbers as YAML 1.2 does: `2e-4` is one, which YAML 1.1 takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


MOST_SEED = 2**32 - 1
"""The greatest seed that every library takes."""


class Closed(BaseModel):
    """Base of every configuration model: unknown keys are faults, and values are immutable."""

    docs: ClassVar[str] = "reference/config.md"
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, data: object) -> object:
        """Treat a section whose lines are all comments, which YAML reads as null, as absent."""
        if not isinstance(data, dict):
            return data
        return {
            name: value
            for name, value in data.items()
            if value is not None or not _is_section(cls.model_fields.get(name))
        }


Model = TypeVar("Model", bound=Closed)


def _is_section(field: FieldInfo | None) -> bool:
    kind = field.annotation if field else None
    return isinstance(kind, type) and issubclass(kind, Closed)


def field_meanings(model: type[Any]) -> dict[str, str]:
    """Return the meaning of each field, from the `Attributes` of the docstrings.

    Args:
        model: a configuration class or dataclass; its bases describe their own fields.
    """
    entries: list[tuple[str, str]] = []
    for ancestor in reversed(model.__mro__):
        body = inspect.cleandoc(ancestor.__doc__ or "").partition("Attributes:\n")[2]
        entries += re.findall(r"^    (\w+): (.*?)(?=^    \w+: |^\w|\Z)", body, flags=re.M | re.S)
    return {name: " ".join(meaning.split()) for name, meaning in entries}


def load_config(
    model: type[Model],
    path: Path,
    overrides: Iterable[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
) -> Model:
    """Read a YAML file into a configuration model.

    Args:
        model: the class to validate against.
        path: the YAML file.
        overrides: `dotted.field=value` assignments; the value is read as YAML.
        environment: variables that the file's references must name; None does not check them.

    Returns:
        The validated configuration.

    Raises:
        InputError: the file cannot be read, or an override is not `field=value`.
        ConfigError: the file has faults; every one of them is listed with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {cause_of(error)}") from None
    try:
        data, lines, faults = _parse(text)
    except _NotYaml as error:
        raise ConfigError(str(path), [error.fault]) from None
    context = None if environment is None else {"environment": environment}
    return _validated(model, data, lines, faults, overrides, str(path), context)


def make_config(
    model: type[Model], data: dict[str, Any], overrides: Iterable[str], source: str
) -> Model:
    """Make a configuration model from what the command line gives.

    Args:
        model: the class to validate against.
        data: its fields.
        overrides: as in `load_config`.
        source: its name in errors.

    Raises:
        InputError, ConfigError: as in `load_config`.
    """
    return _validated(model, data, {}, [], overrides, source)


def _validated(
    model: type[Model],
    data: dict[str, Any],
    lines: dict[Location, int],
    faults: list[Fault],
    overrides: Iterable[str],
    source: str,
    context: dict[str, Any] | None = None,
) -> Model:
    for override in overrides:
        _assign(data, lines, override)
    try:
        config = model.model_validate(data, context=context)
    except ValidationError as error:
        faults += [_fault(model, problem, data, lines) for problem in error.errors()]
    if faults:
        raise ConfigError(source, faults, _page(model, faults))
    return config


def _page(model: type[Closed], faults: Iterable[Fault]) -> str:
    """Return the page of a configuration class, at the section of the first fault."""
    for fault in faults:
        section = re.split(r"[.\[]", fault.field)[0]
        if _is_section(model.model_fields.get(section)):
            return f"{model.docs.partition('#')[0]}#{section}"
    return model.docs


class _NotYaml(Exception):
    """The file has no fields to check."""

    def __init__(self, problem: str, line: int | None) -> None:
        self.fault = Fault("(file)", problem, line)
        super().__init__(problem)


def _parse(text: str) -> tuple[Any, dict[Location, int], list[Fault]]:
    """Return the plain data of a YAML text, the line of each field, and the keys given twice."""
    data, lines, faults = _parse_value(text)
    if not isinstance(data, dict):
        given = {type(None): "nothing", list: "a list"}.get(type(data), "one value")
        problem = f"must be a mapping of fields to values, such as `name: x`; given: {given}"
        raise _NotYaml(problem, 1)
    return data, lines, faults


def _parse_value(text: str) -> tuple[Any, dict[Location, int], list[Fault]]:
    lines: dict[Location, int] = {}
    faults: list[Fault] = []
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=_Loader)
        for location, line, duplicate in _walk(root, (), []):
            if duplicate:
                faults.append(Fault(dotted(location), "given twice; keep one", line))
            lines[location] = line
            if len(lines) > _MOST_VALUES:
                raise _NotYaml(f"has more than {_MOST_VALUES} values, by aliases of aliases?", line)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 it derives from a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        told = f"not YAML: {error.problem}"
        raise _NotYaml(told, mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:  # a control character
        raise _NotYaml(f"not YAML: {' '.join(str(error).split())}", None) from None
    except _TAG_ERRORS as error:
        told = f"not YAML: a date, or a value after a tag, that is none ({error})"
        raise _NotYaml(told, None) from None
    return data, lines, faults


def _check_depth(text: str) -> None:
    """Refuse a text that is nested so deeply that reading it would overflow the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                mark = event.start_mark
                raise _NotYaml("is nested too deeply", mark.line + 1 if mark else None)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _walk(
    node: yaml.Node | None, at: Location, above: list[yaml.Node]
) -> Iterator[tuple[Location, int, bool]]:
    """Yield each field's location and line, and whether its key occurs twice in its mapping.

    Args:
        node: what is walked.
        at: its location.
        above: the nodes that it is in.

    Raises:
        _NotYaml: an alias stands for something that it is in.
    """
    if any(node is each for each in above):
        line = above[-1].start_mark.line + 1
        raise _NotYaml(f"{dotted(at) or '(file)'}: an alias that contains itself", line)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark)
            yield (*at, name), key.start_mark.line + 1, name in seen
            seen.add(name)
            yield from _walk(value, (*at, name), [*above, node])
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1, False
            yield from _walk(value, (*at, index), [*above, node])


def _assign(data: dict[str, Any], lines: dict[Location, int], override: str) -> None:
    """Apply one `dotted.field=value`; a field that it sets has no line."""
    field, equals, value = override.partition("=")
    *parents, last = field.split(".")
    if not equals or not all((*parents, last)):
        raise InputError(
            f"--set {override}: expected field=value, such as --set dataset.path=my.csv"
        )
    target = data
    for parent in parents:
        child = target.setdefault(parent, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {override}: {parent!r} is not a mapping of fields")
        target = child
    try:
        target[last] = _parse_value(value)[0]
    except _NotYaml as error:
        raise InputError(f"--set {override}: the value is {error}") from None
    for location in [at for at in lines if at[: len(parents) + 1] == (*parents, last)]:
        del lines[location]


def _fault(
    model: type[Closed], problem: Any, data: dict[str, Any], lines: dict[Location, int]
) -> Fault:
    """Turn one of pydantic's errors into a fault."""
    # Pydantic adds the name of a union's member to the location; the file has only fields.
    location = _within(data, problem["loc"])
    line = lines.get(location)
    given = problem.get("input")
    kind = problem["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):  # of a model, of a dataclass
        known = _known_fields(model, location[:-1])
        text = f"unknown field{did_you_mean(str(location[-1]), known)}; known: {', '.join(known)}"
    elif kind == "missing":
        location = (*location, problem["loc"][-1])
        text = "is required and was not given"
    elif kind == "value_error":
        text = str(problem["ctx"]["error"])
    elif kind == "literal_error":
        allowed = problem["ctx"]["expected"]
        known = [choice.strip("'") for choice in allowed.replace(" or ", ", ").split(", ")]
        text = f"{given!r} is not allowed{did_you_mean(str(given), known)}"
        text += f"; allowed: {', '.join(known)}"
    else:
        text = f"{problem['msg'][0].lower()}{problem['msg'][1:]}; given: {given!r}"
    return Fault(dotted(location) or "(file)", text, line)


def _within(data: Any, location: Location) -> Location:
    """Return the parts of a location that are keys and indices of the data."""
    inside: list[str | int] = []
    for part in location:
        fields = dict(enumerate(data)) if isinstance(data, list) else data
        if isinstance(fields, dict) and part in fields:
            inside.append(part)
            data = fields[part]
    return tuple(inside)


def _known_fields(model: type[BaseModel], location: Location) -> list[str]:
    """Return the fields of the model at `location` below `model`."""
    current: type[Any] = model
    for part in location:
        field = getattr(current, "model_fields", {}).get(str(part))
        if field is not None:
            current = next(_models_in(field.annotation), current)
    return sorted(getattr(current, "model_fields", None) or current.__dataclass_fields__)


def _models_in(annotation: Any) -> Iterator[type[Any]]:
    """Yield the configuration models and dataclasses in an annotation."""
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or is_dataclass(annotation)
    ):
        yield annotation
    elif get_origin(annotation) in (list, tuple, dict, Union, UnionType, Annotated):
        for argument in get_args(annotation):
            yield from _models_in(argument)


def dotted(location: Location) -> str:
    """Return a location as a person writes it: `load.points[0].rate`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
