"""Numbers that come back from a device; a GPU's queue of work is imitated."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsweep.serving.engines.readback import Readback


class Queue:
    """Work of a GPU, which nothing but waiting for an event gets done."""

    def __init__(self) -> None:
        self.work: list[Callable[[], Any]] = []
        self.blocking: list[bool] = []

    def run(self, upto: int) -> None:
        due, self.work = self.work[:upto], self.work[upto:]
        for each in due:
            each()

    def event(self, *, blocking: bool) -> "Event":
        self.blocking.append(blocking)
        return Event(self)


class Event:
    """Stands for all work before its last record."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.recorded = queue, 0

    def record(self) -> None:
        self.recorded = len(self.queue.work)

    def synchronize(self) -> None:
        self.queue.run(self.recorded)


class Pinned:
    """Host memory that the queue copies to."""

    def __init__(self, queue: Queue, values: torch.Tensor) -> None:
        self.queue, self.values = queue, values

    def __getitem__(self, part: slice) -> "Pinned":
        return Pinned(self.queue, self.values[part])

    def copy_(self, values: torch.Tensor, *, non_blocking: bool = False) -> None:
        copy = self.values.copy_
        self.queue.work.append(lambda: copy(values))
        if not non_blocking:
            self.queue.run(len(self.queue.work))

    def tolist(self) -> list[int]:
        return list(self.values.tolist())


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()

    def empty(most: int, *, dtype: torch.dtype, pin_memory: bool) -> Pinned:
        assert pin_memory, "only a copy to pinned memory does not wait"
        return Pinned(queue, torch.full((most,), -1, dtype=dtype))

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", queue.event)
    return queue


GPU = SimpleNamespace(type="cuda")


def test_on_a_cpu_what_is_written_later_does_not_change_the_copy() -> None:
    readback, values = Readback(4, torch.device("cpu")), torch.tensor([1, 2, 3])
    readback.begin(values)
    values.fill_(7)  # the next step's tokens come into the same tensor
    assert readback.finish() == [1, 2, 3]
    assert readback.read(values[:2]) == [7, 7]


def test_on_a_gpu_the_copy_is_begun_without_waiting_and_read_when_it_is_complete(
    queue: Queue,
) -> None:
    readback, values = Readback(4, GPU), torch.zeros(3, dtype=torch.long)
    queue.work.append(lambda: values.copy_(torch.tensor([1, 2, 3])))  # the step that computes them
    readback.begin(values)
    assert len(queue.work) == 2, "begin waits for the GPU"
    queue.work.append(lambda: values.fill_(7))  # the next step
    assert readback.finish() == [1, 2, 3]
    assert len(queue.work) == 1, "finish waits for the next step too"
    # A thread that spins takes the only CPU of a small pod.
    assert queue.blocking == [True]


def test_on_a_gpu_two_copies_are_under_way_in_memory_of_their_own(queue: Queue) -> None:
    first, second = Readback(4, GPU), Readback(4, GPU)
    first.begin(torch.tensor([1, 2, 3, 4]))
    second.begin(torch.tensor([5, 6]))
    assert (first.finish(), second.finish()) == ([1, 2, 3, 4], [5, 6])
    # Fewer rows than before: no number of the earlier copy is left.
    assert first.read(torch.tensor([8])) == [8]
