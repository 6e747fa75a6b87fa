"""Round-robin over model names; first in, first out within a name."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Waiting items by name. However many wait under one name, the others get their turns.

    Args:
        name_of: returns an item's name; for a request, its model's.
    """

    def __init__(self, name_of: Callable[[Item], Hashable]) -> None:
        self._name_of = name_of
        # The next name is first; a name without items is removed.
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, item: Item) -> None:
        """Add an item after the others of its name."""
        self._waiting.setdefault(self._name_of(item), deque()).append(item)

    def peek(self) -> Item:
        """Return the item that `take` would return first; the queue must not be empty."""
        return next(iter(self._waiting.values()))[0]

    def only(self, name: Hashable) -> bool:
        """Whether items wait, and all of them under this name."""
        return list(self._waiting) == [name]

    def take(self, limit: int) -> list[Item]:
        """Take up to `limit` items, one from each name in turn."""
        taken: list[Item] = []
        while self._waiting and len(taken) < limit:
            name, items = next(iter(self._waiting.items()))
            taken.append(items.popleft())
            self._turn_over(name)
        return taken

    def take_alike(self, limit: int, key: Callable[[Item], Hashable]) -> list[Item]:
        """Take up to `limit` items of the next name that can share a batch.

        Args:
            limit: most items.
            key: returns what must be equal to that of the item that has waited longest.
        """
        if not self._waiting:
            return []
        name, items = next(iter(self._waiting.items()))
        first = key(items[0])
        taken: list[Item] = []
        rest: deque[Item] = deque()
        for item in items:
            (taken if len(taken) < limit and key(item) == first else rest).append(item)
        self._waiting[name] = rest
        self._turn_over(name)
        return taken

    def discard(self, where: Callable[[Item], bool]) -> None:
        """Remove the items for which `where` is true."""
        for name, items in list(self._waiting.items()):
            self._waiting[name] = deque(item for item in items if not where(item))
            if not self._waiting[name]:
                del self._waiting[name]

    def _turn_over(self, name: Hashable) -> None:
        if self._waiting[name]:
            self._waiting.move_to_end(name)
        else:
            del self._waiting[name]
