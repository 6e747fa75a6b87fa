"""The whole server over HTTP, measured with the product's own load client."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu.device import GPU, NAME
from gpu.models import adapters_of, shaped
from gpu.report import Report


def bench(report: Report) -> None:
    """Serve a model with an adapter and load-test it at several concurrencies."""
    spec, folder = shaped("llama-3-8b")
    adapter = adapters_of(spec, folder, 1)["a0"].folder
    points = "1,8,16,32" if GPU else "1"
    with tempfile.TemporaryDirectory() as scratch:
        server = subprocess.Popen(
            [sys.executable, "-m", "medsweep", "serve", "--adapter", f"a0={adapter}"]
            + ["--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            url = next(
                word for line in server.stdout for word in line.split() if word.startswith("http")
            )
            out, prompts = Path(scratch) / "bench.json", Path(scratch) / "prompts.txt"
            prompts.write_text(
                "".join(f"What helps against cough number {n}?\n" for n in range(64))
            )
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "medsweep",
                    "bench",
                    f"{url.rstrip('/').removesuffix('/v1')}/v1",
                ]
                + [
                    "--model",
                    "a0",
                    "--concurrency",
                    points,
                    "--json",
                    str(out),
                    "--prompts",
                    str(prompts),
                ]
                + ["--max-tokens", "128" if GPU else "4", "--requests", "64" if GPU else "4"],
                capture_output=True,
                text=True,
                env={**os.environ, "NO_COLOR": "1"},
                check=False,
            )
            report.row(
                "endpoint.bench",
                ok=done.returncode == 0,
                device=NAME,
                figures=json.loads(out.read_text()) if out.exists() else None,
                error=done.stderr[-500:] if done.returncode else None,
            )
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
