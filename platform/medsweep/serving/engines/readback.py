"""Numbers from a GPU to the host, while the thread that waits for them sleeps."""

from __future__ import annotations

from typing import Any


class Readback:
    """Copies integers from a device.

    `tolist()` of a tensor on a GPU spins until the GPU has computed it, which takes the only CPU of
    a small pod from the server. Here the copy goes to pinned memory, and the driver wakes the
    thread when it is complete.

    Args:
        most: most numbers of one copy.
        device: torch device of the tensors.
    """

    def __init__(self, most: int, device: Any) -> None:
        import torch

        self._values: Any = None
        self._pinned: Any = None
        if device.type == "cuda":
            self._pinned = torch.empty(most, dtype=torch.long, pin_memory=True)
            # Created with the first record, on the device of the thread that records.
            self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def begin(self, values: Any) -> None:
        """Begin to copy a tensor of one dimension, behind what computes it."""
        if self._pinned is None:
            self._values = values.clone()
            return
        self._values = self._pinned[: len(values)]
        self._values.copy_(values, non_blocking=True)
        self._done.record()

    def finish(self) -> list[int]:
        """Wait for the copy and return it."""
        if self._pinned is not None:
            self._done.synchronize()
        values: list[int] = self._values.tolist()
        return values

    def read(self, values: Any) -> list[int]:
        """Return the numbers of a tensor of one dimension."""
        self.begin(values)
        return self.finish()
