"""A test run that is killed leaves none of its processes behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

import watchdog
from support import wait_until_over

RUN = '''
import subprocess, sys, watchdog
watchdog.start()
child = """import subprocess, time
print(subprocess.Popen(['sleep', '1000']).pid, flush=True)
time.sleep(1000)"""
for session in (False, True):
    subprocess.Popen([sys.executable, "-c", child], start_new_session=session)
sys.stdin.read()
'''


def test_the_children_of_a_killed_run_end() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(watchdog.__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        grandchildren = [psutil.Process(int(run.stdout.readline())) for _ in range(2)]
        children = [process.parent() for process in grandchildren]
        run.kill()
    ended = [process for process in [*grandchildren, *children] if process is not None]
    assert len(ended) == 4
    wait_until_over([process.pid for process in ended])


def test_what_cleans_up_after_a_cluster_may_finish() -> None:
    command = [sys.executable, "-c", "input()", watchdog.SPARED.decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.pid not in watchdog.marked(watchdog.marker(os.getpid()))
        child.communicate(b"\n")


def test_this_run_is_watched_over() -> None:
    name = watchdog.marker(os.getpid())
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            assert child.pid in watchdog.marked(name)
        finally:
            child.kill()
    assert any(process.cmdline()[-1:] == [name] for process in psutil.Process().children()), (
        "the watchdog does not run"
    )
