"""What interrupts a run: SIGTERM, with which Kubernetes stops a pod, is one like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def sigterm_interrupts(*, ray: bool = True) -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt meanwhile, and restore its handler on exit.

    A signal that is ignored stays so. Only a main thread can set handlers; in any other nothing is
    changed.

    Args:
        ray: whether Ray is used meanwhile, and must be kept from setting a handler of its own.
    """
    if not _in_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    with _no_handler_of_ray() if ray else nullcontext():
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_handler_of_ray() -> Iterator[None]:
    """Keep Ray from setting its handler of SIGTERM when it starts a node or connects to one.

    That one prints a traceback if the node is only half started, and exits with a code of Ray's.
    """
    from ray._private import utils

    setting = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = setting


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP wait for the end of the block.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a callback, such as
    those around a fork, it is only printed: the interruption is lost, and a lock that the callback
    should have released (that of `logging`) stays taken for good. Ray forks when it starts a node.

    The handlers are set anew at the end, which also takes SIGTERM back from Ray's compiled part. A
    second signal does not wait.

    Raises:
        KeyboardInterrupt: a signal came meanwhile.
    """
    if not _in_main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def wait(number: int, frame: FrameType | None) -> None:
        if came:
            signal.default_int_handler(number, frame)
        came.append(number)

    handled = {
        number: handler
        for number, handler in before.items()
        if handler not in (None, signal.SIG_IGN, signal.SIG_DFL)
    }
    for number in handled:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        if came:
            raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
