"""The workers of one run: this worker's rank, and collective operations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Team:
    """The workers of a run; a single worker is a team of one.

    Attributes:
        rank: of this worker, from 0.
        size: number of workers.
        device: that this worker computes on.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    def current(cls) -> Self:
        """Return the process group of torch.distributed; without one, a team of one."""
        import torch
        from torch import distributed

        gathered = distributed.is_available() and distributed.is_initialized()
        rank = distributed.get_rank() if gathered else 0
        size = distributed.get_world_size() if gathered else 1
        # Ray Train shows each worker only its own GPUs; torchrun shows all, and sets LOCAL_RANK.
        shown = torch.cuda.device_count()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if shown:
            torch.cuda.set_device(local % shown)  # the one that collectives use
        return cls(rank, size, f"cuda:{local % shown}" if shown else "cpu")

    @property
    def device_type(self) -> str:
        """`cuda` or `cpu`."""
        return self.device.partition(":")[0]

    @property
    def leads(self) -> bool:
        """Whether this worker writes files."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Return this worker's items; all workers get the same number, so some items repeat."""
        most = -(-len(items) // self.size)
        return [items[(self.rank + turn * self.size) % len(items)] for turn in range(most)]

    def gather(self, own: Sequence[Item], count: int) -> list[Item]:
        """Return the results of all workers for `count` items that `share` distributed."""
        theirs = self.each(list(own))
        return [theirs[number % self.size][number // self.size] for number in range(count)]

    def each(self, own: Item) -> list[Item]:
        """Return the value of every worker, by rank."""
        if self.size == 1:
            return [own]
        from torch import distributed

        given: list[Any] = [None] * self.size
        distributed.all_gather_object(given, own)
        return given

    def total(self, *values: float) -> list[float]:
        """Return each value summed over all workers."""
        if self.size == 1:
            return list(values)
        import torch
        from torch import distributed

        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(summed)
        return [float(value) for value in summed]

    def wait(self) -> None:
        """Wait until every worker has arrived."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()


ALONE = Team()
"""One worker, on the CPU."""
