"""Write the generated manifests, or check that they are up to date (`--check`).

The renderer produces `k8s/samples`, the hardware catalogue the chart's profiles and Kueue's flavors
and queues, and `medsweep.monitoring` the dashboards and rules.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from medsweep.config import load_config
from medsweep.hardware.catalog import ACCELERATORS, PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.conventions import GPU, NAMESPACE_NAME, NO_GPU, image_family
from medsweep.k8s.render import benchmark_job, finetune_job, serve_service
from medsweep.k8s.resources import LOCAL_QUEUES
from medsweep.k8s.settings import ClusterSettings
from medsweep.models.catalog import MODELS, PAPER_CELLS
from medsweep.models.precision import choose_dtype, serving_refusal
from medsweep.models.spec import ModelSpec
from medsweep.monitoring.dashboards import dashboards
from medsweep.monitoring.rules import rule_file
from medsweep.sweep.cell import Cell
from medsweep.sweep.plan import Plan
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = "k8s/samples"
CHART = "helm/medsweep"
KUEUE = "k8s/overlays/kueue"
TEAM = "k8s/overlays/team"
SWEEP = ROOT / "k8s" / "sweep.yaml"
# Files in these folders are also written by hand.
MIXED = {CHART, KUEUE, TEAM}
HEAD = "# Written by `make manifests`; change its source instead.\n"


def samples() -> dict[str, str]:
    """Return the sample manifests and their index, by path."""
    spec = load_config(SweepSpec, SWEEP)
    plan, settings = resolve(spec, here=False).plan, ClusterSettings()
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
        "The paper's twelve cells, on the embedded dataset: what `medsweep k8s render` prints for",
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


def profiles() -> dict[str, str]:
    """Return the chart's values of each hardware profile, by path."""
    files = {}
    for name, profile in PROFILES.items():
        # A model that the paper ran there and that still fits, or else DistilGPT2.
        models = [
            model for model, place in PAPER_CELLS if place == name and _fits(MODELS[model], profile)
        ]
        values = {
            "profile": {
                "name": name,
                "cpus": profile.cpus,
                "gpus": profile.gpus,
                "gpu": profile.labels[GPU],
                "memoryGi": profile.host_memory_bytes // GIB,
                "imageFamily": image_family(profile),
            },
            "model": models[0] if models else "distilgpt2",
        }
        text = yaml.safe_dump(values, sort_keys=False)
        files[f"{CHART}/profiles/{name}.yaml"] = f"{HEAD}# {profile.title}\n{text}"
    return files


def _fits(model: ModelSpec, profile: HardwareProfile) -> bool:
    dtype = choose_dtype(model, profile.accelerator)
    reason = serving_refusal(model, profile, dtype=dtype, quantization="none")
    return reason is None


_FLAVORS = """\
# One flavor per pool: that of the CPUs, and one for each type of GPU in the catalogue. A job's head
# selects the CPU pool, its worker a GPU pool; Kueue assigns to a pod the flavor whose labels its
# node selector names. A flavor without nodes does no harm.
"""
_QUEUES = """\
# What a team may run at once: set the quotas to what your pools have. What one queue leaves idle,
# others of the cohort may borrow; a quota's `borrowingLimit` bounds that. The flavors are one
# group, so each names every resource: the CPU pool has no GPUs, and the CPUs and memory of a GPU
# pool are those of its machines. The CPU pool is last: Kueue continues a search after the flavor
# that it tried last, and would otherwise report that a head fits no other pool, rather than what a
# worker lacks. Nothing is preempted, since a measurement that is stopped is lost. The oldest job
# that fits is admitted, so that a large one does not block the others.
"""
_POOL_QUOTA = {"cpu": 8, "memory": "128Gi", "nvidia.com/gpu": 4}
_CPU_QUOTA = {"cpu": 64, "memory": "256Gi", "nvidia.com/gpu": 0}


def kueue() -> dict[str, str]:
    """Return Kueue's flavors and the queues of one team or several, by path."""
    flavors = [
        _kueue_object("ResourceFlavor", {"name": _flavor(pool)}, {"nodeLabels": {GPU: pool}})
        for pool in (*ACCELERATORS, NO_GPU)
    ]
    return {
        f"{KUEUE}/flavors.yaml": f"{HEAD}{_FLAVORS}{yaml.safe_dump_all(flavors, sort_keys=False)}",
        f"{KUEUE}/queues.yaml": _queues("medsweep"),
        f"{TEAM}/queues.yaml": _queues("team-a"),
    }


def _flavor(pool: str) -> str:
    return f"medsweep-{'cpu' if pool == NO_GPU else pool}"


def _queues(namespace: str) -> str:
    pools = {**dict.fromkeys(ACCELERATORS, _POOL_QUOTA), NO_GPU: _CPU_QUOTA}
    flavors = [
        {
            "name": _flavor(pool),
            "resources": [
                {"name": resource, "nominalQuota": amount} for resource, amount in quota.items()
            ],
        }
        for pool, quota in pools.items()
    ]
    queue = {
        "cohortName": "gpu-pools",
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}},
        "queueingStrategy": "BestEffortFIFO",
        "preemption": {"withinClusterQueue": "Never", "reclaimWithinCohort": "Never"},
        "resourceGroups": [{"coveredResources": list(_POOL_QUOTA), "flavors": flavors}],
    }
    objects = [
        _kueue_object("ClusterQueue", {"name": namespace}, queue),
        _kueue_object(
            LOCAL_QUEUES.kind,
            {"name": "medsweep", "namespace": namespace},
            {"clusterQueue": namespace},
        ),
    ]
    return HEAD + _QUEUES + yaml.safe_dump_all(objects, sort_keys=False)


def _kueue_object(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    version = f"{LOCAL_QUEUES.group}/{LOCAL_QUEUES.version}"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def values_schema() -> dict[str, str]:
    """Return the schema of the chart's values, which includes that of sweep files, by path."""
    path = f"{CHART}/values.schema.json"
    schema = json.loads((ROOT / path).read_text(encoding="utf-8"))
    sweep = _without_prose(SweepSpec.model_json_schema())
    schema["$defs"] = {**sweep.pop("$defs"), "Sweep": sweep}
    # Model and profile determine the one cell of a release.
    fields = {
        field: value
        for field, value in sweep["properties"].items()
        if field not in ("cells", "models")
    }
    schema["properties"]["sweep"] = {
        **sweep,
        "properties": fields,
        "required": [field for field in sweep["required"] if field in fields],
    }
    schema["properties"]["controller"]["properties"]["sweep"] = {"$ref": "#/$defs/Sweep"}
    return {path: json.dumps(schema, indent=2) + "\n"}


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, dict):
        prose = ("title", "description") if "type" in schema or "$defs" in schema else ()
        return {key: _without_prose(each) for key, each in schema.items() if key not in prose}
    return [_without_prose(each) for each in schema] if isinstance(schema, list) else schema


def monitoring() -> dict[str, str]:
    """Return the chart's dashboards and rules, by path."""
    rules = yaml.safe_dump(rule_file(), sort_keys=False, width=100)
    files = {f"{CHART}/rules/medsweep.yaml": HEAD + rules}
    for name, made in dashboards().items():
        files[f"{CHART}/dashboards/{name}.json"] = json.dumps(made, indent=1) + "\n"
    return files


def generated() -> dict[str, str]:
    """Return the text of every generated file, by path from the root."""
    return {**samples(), **profiles(), **kueue(), **values_schema(), **monitoring()}


def stale(files: dict[str, str]) -> list[str]:
    """Return the files that are out of date: changed, missing, or no longer generated."""
    changed = [
        path
        for path, text in files.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != text
    ]
    folders = {str(Path(path).parent) for path in files} - MIXED
    existing = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).iterdir()
        if path.is_file()
    }
    return sorted([*changed, *(existing - set(files))])


def main() -> int:
    """Write the files, or list those that are out of date."""
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
