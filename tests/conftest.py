"""What every kind of test shares: how the files are dealt out, and one sweep that really ran."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

import watchdog
from support import SWEEP, Runner, Story

# What collecting makes stays until the end: looking for garbage in it takes a second per worker.
gc.disable()

# A script that runs the tests in the background has them ignore Ctrl-C, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# One that runs them under nohup has them ignore its end.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# A worker of pytest-xdist has the width of the terminal, which no table here is written for.
os.environ.pop("COLUMNS", None)
# A server of the standard library looks every half second whether it is to end.
BaseServer.serve_forever.__defaults__ = (0.02,)
# What tests write need not survive a power cut, and waiting for the disk takes most of their time.
os.fsync = lambda _: None
# A proxy that leads to the internet does not lead to the servers that tests start on this machine.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "localhost,127.0.0.1")))

# The files that use the sweep below run in one worker, so that it runs once.
STORY = {
    "tests/browser/test_report.py",
    "tests/integration/test_aa.py",
    "tests/integration/test_dtypes.py",
    "tests/integration/test_paper_page.py",
    "tests/integration/test_python_page.py",
    "tests/integration/test_report_figures.py",
    "tests/integration/test_serving_adapters.py",
    "tests/integration/test_sweep.py",
}

ALL_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow", flags=re.MULTILINE)


class ByFile(LoadScopeScheduling):
    """Deals out the tests file by file, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "story" if file in STORY else file


WATCHDOG = pytest.StashKey["subprocess.Popen[bytes]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Have what the tests start end with this process, also if it is killed."""
    config.stash[WATCHDOG] = watchdog.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the tests have left."""
    if (process := config.stash.get(WATCHDOG, None)) is not None:
        try:
            process.communicate(timeout=2 * watchdog.TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but not among what is there already."""
    gc.enable()
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Deal out files instead of single tests."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a file of which every test is left out: some import torch and more."""
    if config.option.markexpr != "not slow" or not collection_path.match("test_*.py"):
        return None
    return bool(ALL_SLOW.search(collection_path.read_text(encoding="utf-8"))) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that the workers end together."""
    if not hasattr(config, "workerinput"):
        return
    users = {_file(item) for item in items if "story" in getattr(item, "fixturenames", ())}
    assert users <= STORY, f"STORY lacks {users - STORY}"
    items.sort(key=lambda item: (_file(item) not in STORY, "slow" not in item.keywords))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run that is the same for all workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """Where this run's models are; each is built once, under the lock that the product takes."""
    return shared / "model-cache"


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    """Environment of a `medsweep` that keeps its models in this run's cache."""
    return {**os.environ, "MEDSWEEP_CACHE": str(cache)}


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
            scraped = urllib.request.urlopen(url, timeout=60).read().decode()
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


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URL of an empty bucket in a real S3 server, in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        name = f"results-{uuid.uuid4().hex[:8]}"  # servers of one process share their buckets
        s3fs.S3FileSystem().mkdir(name)
        yield f"s3://{name}"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
