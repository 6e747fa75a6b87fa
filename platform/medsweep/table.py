"""Read-only tables of named entries; looking up an unknown name lists the known ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from medsweep.errors import UnknownName


class Named(Protocol):
    """An entry that knows its own name."""

    @property
    def name(self) -> str:
        """Key of the entry."""


T = TypeVar("T", bound=Named)


class NamedTable(Mapping[str, T]):
    """A read-only mapping from name to entry, in the order of the entries.

    Args:
        kind: what the entries are, in words, for the message of a miss ("model").
        entries: each is filed under its `name`; a later one replaces an earlier one.
    """

    def __init__(self, kind: str, entries: Iterable[T]) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> T:
        """Return the entry called `name`; raise UnknownName, which lists the known ones."""
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def extended(self, entries: Iterable[T]) -> NamedTable[T]:
        """Return a table of these entries and further ones; this one is unchanged."""
        return NamedTable(self.kind, [*self._entries.values(), *entries])
