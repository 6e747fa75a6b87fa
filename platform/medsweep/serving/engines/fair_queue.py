"""Who is answered next: the names that wait take turns, and within a name the first comes first."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """What waits, by name. However much waits under one name, every other has its turn.

    Args:
        name_of: under whose name an item waits; for requests, the model's.
    """

    def __init__(self, name_of: Callable[[Item], Hashable]) -> None:
        self._name_of = name_of
        # The name whose turn it is stands first; one with nothing left is forgotten.
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, item: Item) -> None:
        """Let an item wait, behind those of its name."""
        self._waiting.setdefault(self._name_of(item), deque()).append(item)

    def peek(self) -> Item:
        """Return what `take` would give next; there must be something."""
        return next(iter(self._waiting.values()))[0]

    def only(self, name: Hashable) -> bool:
        """Whether something waits, and all of it under one name."""
        return list(self._waiting) == [name]

    def take(self, limit: int) -> list[Item]:
        """Take up to `limit` items, one of each name by turns."""
        taken: list[Item] = []
        while self._waiting and len(taken) < limit:
            name, items = next(iter(self._waiting.items()))
            taken.append(items.popleft())
            self._turn_over(name)
        return taken

    def take_alike(self, limit: int, key: Callable[[Item], Hashable]) -> list[Item]:
        """Take up to `limit` items of the name whose turn it is that can share a batch.

        Args:
            limit: most items.
            key: what must be the same; the longest waiting item decides.
        """
        if not self._waiting:
            return []
        name, items = next(iter(self._waiting.items()))
        wanted = key(items[0])
        taken: list[Item] = []
        rest: deque[Item] = deque()
        for item in items:
            (taken if len(taken) < limit and key(item) == wanted else rest).append(item)
        self._waiting[name] = rest
        self._turn_over(name)
        return taken

    def discard(self, where: Callable[[Item], bool]) -> None:
        """Forget the items that need no answer any more."""
        for name, items in list(self._waiting.items()):
            self._waiting[name] = deque(item for item in items if not where(item))
            if not self._waiting[name]:
                del self._waiting[name]

    def _turn_over(self, name: Hashable) -> None:
        if self._waiting[name]:
            self._waiting.move_to_end(name)
        else:
            del self._waiting[name]
