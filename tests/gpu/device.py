"""The device that the check runs on, and its clock and memory."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

GPU = torch.cuda.is_available()
GPUS = torch.cuda.device_count()
DEVICE = "cuda:0" if GPU else "cpu"
NAME = torch.cuda.get_device_name(0) if GPU else "CPU"


def synchronize() -> None:
    """Wait until the device has done what it was given."""
    if GPU:
        torch.cuda.synchronize()


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that some work takes, the device's part included."""
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


@contextmanager
def released() -> Iterator[None]:
    """Give the memory that the work leaves behind back to the device, and count its peak anew."""
    _release()
    try:
        yield
    finally:
        _release()


def _release() -> None:
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float | None:
    """Return the most memory that was allocated since `released` began; None without a GPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if GPU else None
