import asyncio
import json
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.clock import Clock
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.fleet import Fleet, LoadProgress
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.runner import Load, run_load
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from support import tool

MakeJob = Callable[..., LoadJob]


class VirtualFleet(Fleet):
    """Puts every load on a mock server of a known timing, in this process and in virtual time.

    Args:
        virtually: runs a coroutine function in virtual time.
        timing: of the server, which takes the place of the job's.
    """

    PROGRESS_EVERY_S = 0.25

    def __init__(self, virtually: Callable[..., Any], timing: MockTiming) -> None:
        super().__init__(1)
        self._virtually, self._timing = virtually, timing

    def run(
        self,
        job: LoadJob,
        take_line: Callable[[bytes], None],
        on_progress: Callable[[LoadProgress], bool] = lambda _: True,
    ) -> bool:
        """Run one load point; see `Fleet`."""

        async def main(clock: Clock) -> bool:
            async with running_mock(self._timing, clock=clock) as server:
                here = replace(job, base_url=server.base_url)

                def emit(record: Any) -> None:
                    take_line(json.dumps({"record": record.to_json()}).encode() + b"\n")

                load, dropped = Load(here, emit, clock), False
                running = asyncio.create_task(run_load(here, emit, clock, load))
                while not (await asyncio.wait([running], timeout=self.PROGRESS_EVERY_S))[0]:
                    if not on_progress(progress_of(load)):
                        dropped = True
                        load.stop(drop=True)
                try:
                    await running
                except LoadAborted:
                    if not dropped:
                        raise
                return not dropped

        complete: bool = self._virtually(main)
        return complete


def progress_of(load: Load) -> LoadProgress:
    counts = load.progress()
    ttfts = counts["ttfts"]
    return LoadProgress(
        Counter(counts["by_status"]),
        counts["in_flight"],
        tuple(counts["missed"]),
        counts["ttft_total_s"] / ttfts if ttfts else None,
    )


@pytest.fixture
def virtual_fleet(virtually: Callable[..., Any]) -> Callable[[MockTiming], Fleet]:
    """Makes a fleet whose loads take no real time."""
    return lambda timing: VirtualFleet(virtually, timing)


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
