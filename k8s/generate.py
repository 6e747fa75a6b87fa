"""Write the generated manifests from their sources, or check that they are up to date (`--check`).

`k8s/samples` comes from the renderer, the chart's profiles from the hardware catalogue, its
dashboards and rules from `medsweep.monitoring`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from medsweep.cluster.kubernetes.render import benchmark_job, finetune_job, serve_service
from medsweep.cluster.kubernetes.settings import ClusterSettings
from medsweep.config import load_config
from medsweep.sweep.plan import Cell, Plan
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = "k8s/samples"
SWEEP = ROOT / "k8s" / "sweep.yaml"
HEAD = "# Written by `make manifests`; change its source instead.\n"


def samples() -> dict[str, str]:
    """Return the sample manifests and their index, by path."""
    spec = load_config(SweepSpec, SWEEP)
    plan, settings = resolve(spec).plan, ClusterSettings()
    manifests: dict[str, dict[str, Any]] = {}
    for adapter in plan.adapters.values():
        cells = [cell for cell in plan.runnable if cell.adapter == adapter.key]
        largest = max(cells, key=lambda cell: (cell.profile.gpu_memory_bytes, cell.name))
        name = f"{adapter.model.name}.yaml"
        manifests[f"rayjob.finetune-{name}"] = finetune_job(spec, adapter, settings)
        manifests[f"rayservice.serve-{name}"] = serve_service(spec, largest, settings)
    for cell in plan.runnable:
        manifests[_benchmark_file(cell)] = benchmark_job(spec, cell, settings)
    files = {
        f"{SAMPLES}/{name}": HEAD + yaml.safe_dump(manifest, sort_keys=False, width=1000)
        for name, manifest in manifests.items()
    }
    return {**files, f"{SAMPLES}/README.md": _index(plan)}


def _index(plan: Plan) -> str:
    lines = [
        "# Samples",
        "",
        "The paper's twelve cells, on the embedded dataset, as `medsweep k8s render` makes them of",
        "[`sweep.yaml`](../sweep.yaml). Apply `../base` first, then a model's fine-tune, then its",
        "cells:",
        "",
        "```",
        "kubectl apply -k k8s/base",
        "kubectl apply -f k8s/samples/rayjob.finetune-llama-3-8b.yaml",
        "kubectl -n medsweep wait --for=jsonpath='{.status.jobStatus}'=SUCCEEDED \\",
        "    -f k8s/samples/rayjob.finetune-llama-3-8b.yaml --timeout=12h",
        "kubectl apply -f k8s/samples/rayjob.benchmark-1xa100-2cpu-llama-3-8b.yaml",
        "```",
        "",
        "Written by `make manifests`.",
        "",
        "| cell | fine-tuned on | manifest |",
        "| --- | --- | --- |",
    ]
    for cell in sorted(plan.cells, key=lambda cell: cell.name):
        if cell.refused is not None:
            lines.append(f"| {cell.name} | | refused: {cell.refused} |")
            continue
        file = _benchmark_file(cell)
        where = plan.adapters[cell.adapter].profile.name
        lines.append(f"| {cell.name} | {where} | [{file}]({file}) |")
    return "\n".join(lines) + "\n"


def _benchmark_file(cell: Cell) -> str:
    return f"rayjob.benchmark-{cell.profile.name}-{cell.model.name}.yaml"


def generated() -> dict[str, str]:
    """Return the text of every generated file, by path from the root."""
    return samples()


def stale(files: dict[str, str]) -> list[str]:
    """Return what is out of date: changed, missing, or no longer made."""
    changed = [
        path
        for path, text in files.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != text
    ]
    folders = {str(Path(path).parent) for path in files}
    there = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).iterdir()
        if path.is_file()
    }
    return sorted([*changed, *(there - set(files))])


def main() -> int:
    """Write the files, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    files = generated()
    if parser.parse_args().check:
        old = stale(files)
        if old:
            print(f"out of date: {', '.join(old)}; run `make manifests`", file=sys.stderr)
        return bool(old)
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    for path in set(stale(files)):
        (ROOT / path).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
