"""A stand-in for CUDA graphs on a CPU: operations are recorded once and repeated."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FROM_THE_HOST = (
    "aten.lift_fresh",
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten._to_copy.host",
)
"""What a CUDA graph cannot do: take values from the host, or give them to it."""


class RecordedGraphs:
    """Captures as CUDA does: what is computed with numbers of Python is fixed, and so is memory.

    Args:
        state: tensors that the computation changes; a capture leaves them unchanged.
    """

    def __init__(self, *state: torch.Tensor) -> None:
        self.captures = self.replays = 0
        self._state = state

    def capture(self, compute: Callable[[], Any]) -> tuple[Callable[[], Any], Any]:
        self.captures += 1
        before = [each.clone() for each in self._state]
        with _Recorder() as recorder:
            filled = compute()
        for each, old in zip(self._state, before, strict=True):
            each.copy_(old)

        def replay() -> None:
            self.replays += 1
            for function, args, kwargs, results in recorder.calls:
                again = function(*args, **kwargs)
                for new, old in zip(tree_leaves(again), tree_leaves(results), strict=True):
                    if isinstance(old, torch.Tensor) and new.data_ptr() != old.data_ptr():
                        old.copy_(new)

        return replay, filled


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(FROM_THE_HOST):
            raise RuntimeError(f"{func} cannot be captured")
        results = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, results))
        return results
