"""SIGTERM, with which Kubernetes stops a pod, is an interruption like Ctrl-C, also under Ray."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt meanwhile, and restore its handler on exit.

    Ray sets a handler of its own whenever it starts a node or connects to one. That one prints a
    traceback if the node is only half started, and exits with a code of Ray's. So Ray is kept from
    setting it. Its compiled part, which a connection loads, takes the signal without Python: call
    `take_sigterm` afterwards. A signal that is ignored stays so. Only a main thread can set
    handlers; in any other nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from ray._private import utils

    setting, before = utils.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    utils.set_sigterm_handler = lambda handler: None
    take_sigterm()
    try:
        yield
    finally:
        utils.set_sigterm_handler = setting
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def take_sigterm() -> None:
    """Let SIGTERM raise KeyboardInterrupt from now on, unless it is ignored."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
