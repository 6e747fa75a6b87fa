"""A test run that is killed leaves none of its processes behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import watchdog
from medsweep.clock import FakeClock
from support import wait_until_over

RUN = '''
import subprocess, sys, watchdog
watchdog.start()
child = """import subprocess, time
print(subprocess.Popen(['sleep', '1000']).pid, flush=True)
time.sleep(1000)"""
for session, environment in ((False, None), (True, None), (True, {})):
    subprocess.Popen([sys.executable, "-c", child], start_new_session=session, env=environment)
sys.stdin.read()
'''


def test_the_children_of_a_killed_run_end() -> None:
    """Also one without the run's environment, as those that write a title over it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(watchdog.__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        grandchildren = [psutil.Process(int(run.stdout.readline())) for _ in range(3)]
        children = [process.parent() for process in grandchildren]
        run.kill()
    ended = [process for process in [*grandchildren, *children] if process is not None]
    assert len(ended) == 6
    wait_until_over([process.pid for process in ended])


@contextmanager
def started(*arguments: str) -> Iterator[int]:
    """Yield the id of a child that runs."""
    command = [sys.executable, "-c", "print(flush=True); input()", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the kernel shows its environment
        yield child.pid
        child.communicate(b"\n")


def test_what_cleans_up_after_a_cluster_may_finish() -> None:
    with started() as other, started(watchdog.SPARED.decode()) as spared:
        pids = {*watchdog.marked(watchdog.MARKER)}
    assert other in pids
    assert spared not in pids


def test_what_cannot_be_killed_is_named_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, killed = FakeClock(), []
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=clock.now, sleep=clock.advance))
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    monkeypatch.setattr(watchdog, "marked", lambda _: iter([7]))
    assert watchdog.end_all("name") == [7]
    assert set(killed) == {7}
    assert clock.now() == pytest.approx(watchdog.TIMEOUT_S, abs=0.1)


def test_this_run_is_watched_over() -> None:
    commands = []
    for process in psutil.Process().children():
        with suppress(psutil.Error):  # one that an earlier test started has just ended
            commands.append(process.cmdline())
    assert any(command[-1:] == [watchdog.MARKER] for command in commands), (
        "the watchdog does not run"
    )
