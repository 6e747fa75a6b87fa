"""Memory that ran out, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medsweep.errors import StageError


@contextmanager
def naming_out_of_memory(doing: Callable[[], str], advise: Callable[[], str]) -> Iterator[None]:
    """Turn what PyTorch raises when memory runs out into a StageError.

    Args:
        doing: says what was being done.
        advise: says what would fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _ran_out(error):
            raise
        raise StageError(f"fine-tuning: out of memory {doing()}; {advise()}") from None


def _ran_out(error: Exception) -> bool:
    import torch

    # On a CPU PyTorch raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )
