import asyncio
import selectors
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from medsweep.clock import Clock
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from support import tool

MakeJob = Callable[..., LoadJob]
Main = Callable[[Clock], Coroutine[Any, Any, Any]]


@pytest.fixture
def make_job() -> MakeJob:
    """A job for a server at `base_url`; keywords replace the defaults."""

    def make(base_url: str, point: LoadPoint | None = None, **changes: object) -> LoadJob:
        defaults: dict[str, object] = {
            "prompts": tuple(Prompt(f"q{n}", f"question {n}?") for n in range(4)),
            "seed": 1,
            "max_tokens": 32,
            "timeout_s": 5.0,
        }
        point = point or LoadPoint(concurrency=1, requests=1, warmup=0)
        return LoadJob(base_url=base_url, model="mock", point=point, **(defaults | changes))

    return make


class _VirtualSelector(selectors.DefaultSelector):
    """Time passes only while there is nothing to do, and then as fast as it is waited for."""

    TURN_S = 20e-6

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        self.now_s += self.TURN_S
        if not events and timeout:
            self.now_s += timeout
        return events


class _VirtualLoop(asyncio.SelectorEventLoop):
    """Sockets are real, time is not: hours of load in seconds, and the same every time."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    now = time


@pytest.fixture
def virtually() -> Callable[[Main], Any]:
    """Run a coroutine function, which takes the clock, in virtual time."""

    def run(main: Main) -> Any:
        with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, _VirtualLoop)
            return runner.run(main(loop))

    return run


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context with a certificate that nobody signed, and that certificate."""
    folder = tmp_path_factory.mktemp("tls")
    command = [tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, folder / "cert.pem"
