"""Server-side apply and merge patches on plain objects, with the owner of each field."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]
Owners = dict[Path, str]

IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


class Conflict(Exception):
    """Fields are someone else's.

    Args:
        fields: the owner of each field, by path.
    """

    def __init__(self, fields: Owners) -> None:
        super().__init__(fields)
        self.fields = fields


def leaves(value: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each field that holds no mapping; a list counts as one value."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from leaves(child, (*at, key))
    else:
        yield at, value


def apply(current: Object, wanted: Object, owners: Owners, manager: str) -> Object:
    """Return what an object becomes; `owners` is brought up to date.

    Raises:
        Conflict: fields would change that other managers own.
    """
    fields = {path: value for path, value in leaves(wanted) if path not in IDENTITY}
    taken = {
        path: owners[path]
        for path, value in fields.items()
        if owners.get(path, manager) != manager and find(current, path) != value
    }
    if taken:
        raise Conflict(taken)
    result = copy.deepcopy(current)
    for path in [path for path, owner in owners.items() if owner == manager]:
        if path not in fields:
            _remove(result, path)
            del owners[path]
    for path, value in fields.items():
        _put(result, path, copy.deepcopy(value))
        owners[path] = manager
    return result


def merge(current: Any, patch: Any) -> Any:
    """Return a JSON merge patch's outcome (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def find(value: Any, path: Path) -> Any:
    """Return the value at a path, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _put(value: Object, path: Path, leaf: Any) -> None:
    for key in path[:-1]:
        value = value.setdefault(key, {})
    value[path[-1]] = leaf


def _remove(value: Object, path: Path) -> None:
    parent = find(value, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
