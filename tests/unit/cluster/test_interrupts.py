"""Ray's own handler of SIGTERM exits with another code than an interruption, and Ray forks."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from medsweep.cluster.interrupts import interrupts_wait, sigterm_interrupts


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    ends: list[str] = []

    def start_a_node() -> None:
        with interrupts_wait():
            os.kill(os.getpid(), number)
            ends.append("block")
        ends.append("function")

    with sigterm_interrupts():
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt):
            start_a_node()
        assert signal.getsignal(number) == before
    assert ends == ["block"]


def test_a_second_interruption_does_not_wait() -> None:
    came: list[int] = []

    def start_a_node() -> None:
        with interrupts_wait():
            for number in range(3):
                came.append(number)
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        start_a_node()
    assert came == [0, 1]


def test_an_interruption_is_not_lost_in_the_callbacks_of_a_fork() -> None:
    """Where Python only prints it, and a lock that a callback should release stays taken."""
    script = """
import os, signal
from medsweep.cluster.interrupts import interrupts_wait
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    with interrupts_wait():
        if not os.fork():
            os._exit(0)
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("interrupted\n", "")
