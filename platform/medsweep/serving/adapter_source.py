"""Which adapters a server may load: folders that were named, and those below one folder.

Adapters are added and removed by putting a folder there and taking it away. There is no route for
it: who may serve what is decided by who may write to the disk.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsweep.clock import Clock
from medsweep.errors import InputError, StageError, UnknownName
from medsweep.finetune.adapter import CARD_FILE, Adapter, read_card

FRESH_S = 1.0
"""For so long what was found on the disk is believed."""


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter that can be loaded.

    Attributes:
        name: what requests call it.
        folder: where it is.
        stamp: changes when another adapter is put in its place.
    """

    name: str
    folder: Path
    stamp: tuple[int, int]


class AdapterSource:
    """Finds adapters by name.

    Args:
        base: the base model's name, which no adapter may have.
        named: folders by name.
        root: folder whose subfolders are adapters by their own name; those of other base models and
            what cannot be read are left alone. None has none.
        clock: says how old the last look is.

    Raises:
        InputError: a named folder is no adapter's, or the root is no folder.
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
        self._found: dict[str, AdapterEntry] = {}
        self._cards: dict[AdapterEntry, Adapter | None] = {}
        self._looking: asyncio.Task[None] | None = None
        self.look()

    @property
    def named(self) -> list[str]:
        """The names of the named folders."""
        return list(self._named)

    def names(self) -> list[str]:
        """Return the names of all adapters, as the last look found them."""
        return list(self._found)

    async def find(self, name: str) -> AdapterEntry:
        """Return an adapter, looking at the disk again if the last look is old.

        Raises:
            UnknownName: there is no adapter of that name.
        """
        old = self._clock.now() - self._looked_s >= FRESH_S
        if old or name not in self._found:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(asyncio.to_thread(self.look))
            await asyncio.shield(self._looking)
        try:
            return self._found[name]
        except KeyError:
            raise UnknownName("model", name, [self.base, *self._found]) from None

    def look(self) -> None:
        """Find out what is on the disk now."""
        folders = dict(self._named)
        if self._root is not None:
            for entry in os.scandir(self._root):
                # A link out of the root would let whoever may make one serve any folder.
                inside = Path(entry.path).resolve().is_relative_to(self._root)
                if inside and not entry.name.startswith(".") and entry.name != self.base:
                    folders.setdefault(entry.name, Path(entry.path))
        found = [
            AdapterEntry(name, folder, stamp)
            for name, folder in sorted(folders.items())
            if (stamp := _stamp(folder)) is not None
        ]
        # Cards are read once: a look must stay cheap.
        self._cards = {each: self._cards.get(each) or card_of(each.folder) for each in found}
        self._found = {
            each.name: each
            for each in found
            if each.name in self._named
            or ((card := self._cards[each]) is not None and card.model == self.base)
        }
        self._looked_s = self._clock.now()


def card_of(folder: Path) -> Adapter | None:
    """Return what an adapter's `adapter.json` says; None where it cannot be read."""
    try:
        return read_card(folder)
    except StageError:
        return None


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(folder / CARD_FILE)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
