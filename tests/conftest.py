"""Fixtures that several kinds of test share: one sweep that really ran."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request

import pytest

from support import SWEEP, Runner, Story

# A script that runs the tests in the background has them ignore Ctrl-C, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment with a model cache of its own."""
    return {**os.environ, "MEDSWEEP_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Story:
    """One sweep of two cells: killed after the first, finished, run again."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.yaml").write_text(SWEEP)
    runner = Runner(folder, environment)
    process = runner.start()
    assert process.stderr is not None
    url, scraped = "", ""
    # The run says what it does line by line, so what happens when can be followed without a clock.
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics", line)
        if found:
            url = found.group()
        if "load:" in line:
            scraped = urllib.request.urlopen(url, timeout=10).read().decode()
        # With one cell at a time, the second deployment begins when the first cell is recorded.
        if line.count("deploy:") and len(runner.cell_files()) == 1:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed_after = runner.cell_files()
    finishing = runner.start()
    finished = _finish(finishing)
    files_between = runner.cell_files()
    again = _finish(runner.start())
    pids = (process.pid, finishing.pid)
    return Story(runner, scraped, killed_after, finished, again, files_between, pids)


def _finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=280)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
