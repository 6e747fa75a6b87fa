"""The whole server over HTTP, measured with the product's own load client."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu.device import GPU, NAME
from gpu.models import adapters_of, shaped
from gpu.report import Report

MEDSWEEP = [sys.executable, "-m", "medsweep"]


def bench(report: Report) -> None:
    """Serve a model with an adapter and load-test it at several concurrencies."""
    spec, folder = shaped("llama-3-8b")
    adapter = adapters_of(spec, folder, 1)["a0"].folder
    command = [*MEDSWEEP, "serve", "--adapter", f"a0={adapter}", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stdout)
        url = next(found.group() for found in lines if found)
        with tempfile.TemporaryDirectory() as scratch:
            _load(report, f"{url}/v1", Path(scratch))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _load(report: Report, url: str, folder: Path) -> None:
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
    report.row("endpoint.bench", ok=done.returncode == 0, device=NAME, figures=figures, error=error)
