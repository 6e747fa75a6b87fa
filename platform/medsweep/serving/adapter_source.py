"""The adapters that a server may load: named folders, and the subfolders of one root folder.

Operators add and remove adapters by adding and removing folders. There is no route for it: access
to the disk decides who may serve what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsweep.clock import Clock
from medsweep.errors import InputError, StageError, UnknownName
from medsweep.finetune.adapter import CARD_FILE, Adapter, read_card

FRESH_S = 1.0
"""How long a scan of the disk counts as current."""


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter that can be loaded.

    Attributes:
        name: name for requests.
        folder: its folder.
        stamp: inode and time of its card; changes when another adapter replaces it.
    """

    name: str
    folder: Path
    stamp: tuple[int, int]


class AdapterSource:
    """Finds adapters by name.

    Args:
        base: the base model's name, which no adapter may have.
        named: folders by name.
        root: folder whose subfolders are adapters by their own names, without those that cannot be
            read or are of other base models; None for no such folder.
        clock: measures the age of the last scan.

    Raises:
        InputError: a named folder holds no adapter, or the root is not a folder.
    """

    def __init__(
        self, base: str, named: Mapping[str, Path], root: Path | None, clock: Clock
    ) -> None:
        self.base, self._named, self._clock = base, dict(named), clock
        self._root = root.resolve() if root is not None else None
        if self._root is not None and not self._root.is_dir():
            raise InputError(f"{root}: no such folder of adapters")
        for name, folder in named.items():
            if _stamp(folder) is None:
                raise InputError(f"{folder}: not an adapter: it has no {CARD_FILE}")
            if name == base:
                raise InputError(f"{folder}: its name {name!r} is the base model's; give another")
        self._entries: dict[str, AdapterEntry] = {}
        self._cards: dict[AdapterEntry, Adapter | None] = {}
        self._scanning: asyncio.Task[None] | None = None
        self.scan()

    @property
    def named(self) -> list[str]:
        """The names of the named folders."""
        return list(self._named)

    def names(self) -> list[str]:
        """Return the names of all adapters in the last scan."""
        return list(self._entries)

    async def find(self, name: str) -> AdapterEntry:
        """Return an adapter, scanning the disk again if the last scan is old.

        Raises:
            UnknownName: there is no adapter of that name.
        """
        old = self._clock.now() - self._scanned_s >= FRESH_S
        if old or name not in self._entries:
            if self._scanning is None or self._scanning.done():
                self._scanning = asyncio.create_task(asyncio.to_thread(self.scan))
            await asyncio.shield(self._scanning)
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName("model", name, [self.base, *self._entries]) from None

    def scan(self) -> None:
        """Read which adapters are on the disk now."""
        folders = dict(self._named)
        if self._root is not None:
            for entry in self._root.iterdir():
                # With a link out of the root, anyone who may create one could serve any folder.
                inside = entry.resolve().is_relative_to(self._root)
                if inside and not entry.name.startswith(".") and entry.name != self.base:
                    folders.setdefault(entry.name, entry)
        entries = [
            AdapterEntry(name, folder, stamp)
            for name, folder in sorted(folders.items())
            if (stamp := _stamp(folder)) is not None
        ]
        # Each card is read once, so that a scan stays cheap.
        cards = {
            each: self._cards.get(each) or card_of(each.folder, links=each.name in self._named)
            for each in entries
        }
        self._entries = {
            each.name: each
            for each in entries
            if each.name in self._named
            or ((card := cards[each]) is not None and card.model == self.base)
        }
        # Assigned at the end: another scan may run in another thread.
        self._cards = cards
        self._scanned_s = self._clock.now()


def card_of(folder: Path, *, links: bool) -> Adapter | None:
    """Return the content of an adapter's `adapter.json`; None if it cannot be read."""
    try:
        return read_card(folder, links=links)
    except StageError:
        return None


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        status = (folder / CARD_FILE).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
