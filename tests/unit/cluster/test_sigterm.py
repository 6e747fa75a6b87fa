"""Ray's own handler of SIGTERM exits with another code than an interruption."""

import os
import signal
import threading

import pytest

from medsweep.cluster.sigterm import sigterm_interrupts


def test_ray_does_not_take_sigterm_for_itself() -> None:
    from ray._private import utils

    before, setting = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler

    def start_a_node() -> None:
        utils.set_sigterm_handler(lambda *_: pytest.fail("Ray's handler was called"))
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it was not interrupted")

    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        start_a_node()
    assert signal.getsignal(signal.SIGTERM) == before
    assert utils.set_sigterm_handler is setting


def test_in_another_thread_nothing_is_changed() -> None:
    seen: list[object] = []

    def elsewhere() -> None:
        with sigterm_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]
