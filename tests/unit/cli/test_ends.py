"""How commands end: signals, full disks, unusual streams, and faults of our own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsweep import cli
from medsweep.cli import VERBS, last_resort, main
from medsweep.errors import MedSweepError
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming

MEDSWEEP = [sys.executable, "-m", "medsweep"]
SLOW = MockTiming(ttft_s=0.1, gap_s=0.02, tokens=10)
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


async def bench_until(
    condition: Callable[[Any], bool], number: signal.Signals, *options: str
) -> tuple[int | None, str, str, int]:
    """Start a load test in a session of its own; signal all of it once the condition holds.

    Returns:
        Its exit code, what it printed, what it told on stderr, and the requests that it sent.
    """
    async with running_mock(SLOW) as server:
        process = await asyncio.create_subprocess_exec(
            *MEDSWEEP, "bench", server.base_url, "--model", "m", "--warmup", "0", *options,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        async with asyncio.timeout(200):
            while not condition(server):
                await asyncio.sleep(0.02)
            os.killpg(process.pid, number)
            printed, told = await process.communicate()
    return process.returncode, printed.decode(), told.decode(), server.received


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_within_a_load_keeps_its_part(
    tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "out.json", tmp_path / "d"
    options = ["--concurrency", "2", "--requests", "500", "--json", str(out), "--out", str(folder)]
    began_s = time.perf_counter()
    code, printed, told, sent = await bench_until(
        lambda server: server.received > 10, number, *options
    )
    took_s = time.perf_counter() - began_s
    assert code == 3, told
    assert "Traceback" not in told
    assert f"1 loads measured, the last one in part; written to {out} and {folder}" in told
    assert "interrupted: figures of the part that was measured" in printed
    [point] = json.loads(out.read_text())["points"]
    assert 8 <= point["requests"]["ok"] <= sent < 500
    # 0.1 s to the first of ten tokens, 0.02 s between them; a busy machine adds. Two at a time
    # are answered, which in another unit would take longer than the whole test did.
    assert 0.278 < point["e2e_s"]["mean"] <= 2 * took_s / point["requests"]["ok"]
    assert point["ended_early"]
    assert main(["report", str(folder)]) == 0


@pytest.mark.slow
async def test_an_interruption_says_what_is_kept_and_what_is_not() -> None:
    """Nobody is told to run the same command to resume, which starts anew."""
    code, _, told, _ = await bench_until(
        lambda server: server.received > 2, signal.SIGINT, "--requests", "500"
    )
    assert code == 3
    assert "nothing is written without --json or --out" in told
    assert "resume" not in told


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("verb", ["models", "score", "run"])
def test_every_verb_ends_as_with_ctrl_c(
    verb: str,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)

    def stop(*_: object, **__: object) -> int:
        os.kill(os.getpid(), number)
        raise AssertionError("not interrupted")

    parser = cli.parser_for

    def patched(*verbs: str) -> Any:
        made = parser(*verbs)
        made.parse_args = lambda _: type("Options", (), {"run": stop})  # type: ignore[method-assign]
        return made

    monkeypatch.setattr(cli, "parser_for", patched)
    assert main([verb]) == 3
    told = capsys.readouterr().err
    assert told.startswith("medsweep: interrupted")
    assert ("resume" in told) == (verb == "run")
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nohup` has SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(
            "medsweep.cli.models.show", lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP)
        )
        assert main(["models"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def ended(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command.replace("medsweep", f"{sys.executable} -m medsweep", 1)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("medsweep models > /dev/full", 4, "medsweep: output: No space left on device"),
        ("medsweep --help > /dev/full", 4, "medsweep: output: No space left on device"),
        ("medsweep --version > /dev/full", 4, "medsweep: output: No space left on device"),
        ("medsweep models > /dev/full 2> /dev/full", 4, ""),
        ("medsweep models | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("medsweep models >&-", 0, ""),
        ("medsweep models >&- 2>&-", 0, ""),
        ("medsweep score nowhere 2>&-", 2, ""),
        ("medsweep score nowhere 2> /dev/full", 2, ""),
        ("medsweep bench 2> /dev/full", 2, ""),
        ("medsweep bench http://127.0.0.1:9/v1 --model m --timeout nan", 2, "not a number above 0"),
        ("medsweep bench http://127.0.0.1:9/v1 --model m --timeout inf", 2, "not a number above 0"),
        ("medsweep bench http://127.0.0.1:99999/v1 --model m", 2, "from 1 to 65535"),
        ("medsweep bench http://127.0.0.1:9/v1 --model m --max-error-rate nan", 2, "share"),
        ("medsweep bench http://127.0.0.1:9/v1 --model m --seed -1", 2, "from 0 to 4294967295"),
        ("medsweep score x.jsonl --seed 99999999999", 2, "from 0 to 4294967295"),
        ("medsweep compare a b --tolerance nan", 2, "not a number from 0 to 1"),
        ("medsweep serve --timeout nan", 2, "--timeout"),
    ],
)
def test_unusual_streams_and_numbers_end_with_the_documented_code(
    command: str, code: int, told: str
) -> None:
    done = ended(command)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_terminal_that_only_knows_ascii() -> None:
    done = ended("medsweep ask 'Wie heißt …?' --adapter /no/w\u00e4re", PYTHONIOENCODING="ascii")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    for verb in VERBS:
        done = ended(f"medsweep {verb} --help", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], int]:
    monkeypatch.setattr(last_resort.tempfile, "tempdir", str(tmp_path))

    def fail(error: BaseException) -> int:
        def stop(*_: object, **__: object) -> int:
            raise error

        monkeypatch.setattr("medsweep.cli.models.show", stop)
        return main(["models"])

    return fail


def test_a_fault_of_our_own_names_its_trace(
    failing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(ValueError("about Mr Okonkwo")) == 70
    told = capsys.readouterr().err
    [trace] = tmp_path.glob("medsweep-trace-*.txt")
    assert "an unexpected ValueError in test_ends.py, line " in told
    assert str(trace) in told
    assert "maintainers" in told
    assert "see: medsweep docs reference/exit-codes.md#70" in told
    # The message may quote data: it is in the file alone, which nobody else can read.
    assert "Okonkwo" not in told
    assert "ValueError: about Mr Okonkwo" in trace.read_text()
    assert trace.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(28, "No space left on device", "/x/y"), 4, "/x/y: No space left on device"),
        (PermissionError(13, "Permission denied", "/x/y"), 4, "/x/y: Permission denied"),
        (OSError(24, "Too many open files"), 4, "output: Too many open files"),
        (MemoryError(), 4, "not enough memory"),
        (MedSweepError("a part failed"), 1, "a part failed"),
        (BrokenPipeError(), 0, ""),
        (RecursionError("deep"), 70, "an unexpected RecursionError"),
        (OSError("strange"), 70, "an unexpected OSError"),
    ],
)
def test_what_the_machine_prevents_is_told_from_our_own_faults(
    failing: Any, error: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == code
    assert told in capsys.readouterr().err


def test_a_trace_that_cannot_be_written(
    failing: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(last_resort.tempfile, "mkstemp", full)
    assert failing(KeyError("x")) == 70
    assert (
        "could not be written (No space left on device): KeyError('x')" in capsys.readouterr().err
    )
