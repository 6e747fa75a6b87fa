"""The whole server over HTTP, measured with the product's own load client."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu.device import GPU, NAME
from gpu.models import adapters_of, shaped
from gpu.packages import missing
from gpu.report import Report

MEDSWEEP = [sys.executable, "-m", "medsweep"]


def bench(report: Report) -> None:
    """Serve a model with an adapter and load-test it at several concurrencies."""
    if "endpoint" in (absent := missing()):
        report.row("endpoint.bench", not_run=f"{', '.join(absent['endpoint'])} is not installed")
        return
    spec, folder = shaped("llama-3-8b")
    adapter = adapters_of(spec, folder, 1)["a0"].folder
    command = [*MEDSWEEP, "serve", "--adapter", f"a0={adapter}", "--port", "0"]
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as log:
        started = time.monotonic()
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            url = _url(server)
            ready_s = time.monotonic() - started
            if url is not None:
                _load(report, f"{url}/v1", Path(scratch), ready_s)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                code = server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                code = server.wait()
        log.seek(0)
        ok = url is not None and code == 0
        report.row("endpoint.server", ok=ok, exit_code=code, log=log.read()[-1500:] or None)


def _url(server: "subprocess.Popen[str]") -> str | None:
    """Return the address that the server prints when it answers; None if it ended before."""
    assert server.stdout is not None
    lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stdout)
    return next((found.group() for found in lines if found), None)


def _load(report: Report, url: str, folder: Path, ready_s: float) -> None:
    prompts, out = folder / "prompts.txt", folder / "bench.json"
    prompts.write_text("".join(f"What helps against cough number {n}?\n" for n in range(64)))
    amount = ["--max-tokens", "128", "--duration", "8"] if GPU else ["--max-tokens", "4"]
    what = ["--model", "a0", "--prompts", str(prompts), "--json", str(out)]
    what += ["--concurrency", "1,8,32" if GPU else "1"]
    done = subprocess.run(
        [*MEDSWEEP, "bench", url, *what, *amount],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    figures = json.loads(out.read_text()) if out.exists() else None
    error = done.stderr[-500:] if done.returncode else None
    report.row(
        "endpoint.bench",
        ok=done.returncode == 0 and figures is not None,
        device=NAME,
        ready_s=round(ready_s, 1),
        figures=figures,
        error=error,
    )
