"""A whole sweep on this machine: Ray Train, Ray Serve, the load, the figures of the GPU."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu.device import GPU, NAME
from gpu.packages import missing
from gpu.report import Report
from medsweep.results.store import read_rows

SWEEP = """\
name: gpu-check
stand_ins: true
cells: [llama-3-8b@host]
finetune: {epochs: 1, max_seq_length: 256}
serve: {engine: continuous}
load:
  points: [{concurrency: 4, requests: 8}]
  repeats: 1
  max_tokens: 8
"""

COLUMNS = (
    "status",
    "reason",
    "basis",
    "engine",
    "dtype",
    "dtype_given",
    "gpu_use",
    "telemetry_missing",
    "gpu_utilisation",
    "gpu_power_w",
    "gpu_memory_used_bytes",
    "ttft_mean_s",
    "output_tokens_per_s",
    "token_f1",
)


def run(report: Report) -> None:
    """Fine-tune a stand-in, serve it and measure it; the row says what was observed."""
    if "sweep" in (absent := missing()):
        report.row("sweep.run", not_run=f"{', '.join(absent['sweep'])} is not installed")
        return
    with tempfile.TemporaryDirectory() as scratch:
        spec, out = Path(scratch) / "sweep.yaml", Path(scratch) / "results"
        spec.write_text(SWEEP)
        done = subprocess.run(
            [sys.executable, "-m", "medsweep", "run", str(spec), "--out", str(out)],
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
        )
        table = out / "gpu-check" / "benchmark.parquet"
        rows = read_rows(table) if table.is_file() else []
        adapters = out / "gpu-check" / "adapters"
        provenance = next(iter(adapters.glob("*/provenance.json")), None)
        trained = json.loads(provenance.read_text()) if provenance else {}
    kept = [{name: row.get(name) for name in COLUMNS} for row in rows]
    report.row(
        "sweep.run",
        ok=done.returncode == 0
        and len(rows) == 1
        and all(row["status"] == "ok" and row["basis"] == "observed" for row in rows)
        and (not GPU or all(row["gpu_utilisation"] is not None for row in rows)),
        device=NAME,
        rows=kept,
        trained_on=trained.get("machine"),
        precision=trained.get("precision"),
        error=done.stderr[-500:] if done.returncode else None,
    )
