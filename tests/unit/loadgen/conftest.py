import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from support import tool

MakeJob = Callable[..., LoadJob]


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
