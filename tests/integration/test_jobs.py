"""The jobs' entrypoints, as KubeRay runs them: drivers on a Ray cluster that is there already."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crds import ROOT
from medsweep.cluster.kubernetes.render import SWEEP_VARIABLE, benchmark_job, finetune_job
from medsweep.cluster.kubernetes.settings import ClusterSettings
from medsweep.cluster.local import ENVIRONMENT, OBJECT_STORE_BYTES
from medsweep.hardware.catalog import PROFILES
from medsweep.results.cells import CellFolder
from medsweep.results.store import read_rows
from medsweep.sweep.resolve import Resolved, resolve
from medsweep.sweep.spec import SweepSpec
from support import make_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PROFILE = "1xv100-1cpu"


@dataclass
class Job:
    """Runs what a manifest says, on a cluster of the test's own."""

    environment: dict[str, str]
    out: Path

    def run(self, manifest: dict, *, expect: int = 0) -> str:
        """Run the entrypoint with the head's sweep; return what it wrote."""
        head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        (sweep,) = (
            each["value"] for each in head["containers"][0]["env"] if each["name"] == SWEEP_VARIABLE
        )
        entrypoint = manifest["spec"]["entrypoint"].removesuffix(" --metrics-port 9464")
        words = entrypoint.replace("/opt/medsweep", str(ROOT)).split()
        words[words.index("--out") + 1] = str(self.out)
        done = subprocess.run(
            [sys.executable, *words[1:]],
            env={**self.environment, SWEEP_VARIABLE: sweep},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == expect, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def spec() -> SweepSpec:
    return make_spec(
        cells=[f"distilgpt2@{PROFILE}"],
        finetune={
            "epochs": 1,
            "batch_size": 32,
            "learning_rate": 1.5e-2,
            "max_seq_length": 256,
            "dropout": 0.0,
        },
        load={"points": [{"concurrency": 2, "requests": 4}], "repeats": 1, "max_tokens": 8},
    )


@pytest.fixture(scope="module")
def job(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A Ray cluster of a head without CPUs and one worker with the profile's labels."""
    folder = tempfile.mkdtemp(prefix="ms-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_TMPDIR": folder, **ENVIRONMENT}.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
            },
        )
        profile = PROFILES[PROFILE]
        cluster.add_node(
            num_cpus=profile.cpus,
            num_gpus=profile.gpus,
            labels=profile.labels,
            object_store_memory=OBJECT_STORE_BYTES,
        )
        try:
            yield Job(
                {**os.environ, **environment, "RAY_ADDRESS": cluster.address},
                tmp_path_factory.mktemp("out"),
            )
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def resolved(spec: SweepSpec) -> Resolved:
    return resolve(spec, fetches=False)


def test_fine_tune_then_benchmark_then_nothing_again(
    spec: SweepSpec, resolved: Resolved, job: Job
) -> None:
    settings = ClusterSettings()
    (adapter,) = resolved.plan.adapters.values()
    (cell,) = resolved.plan.cells
    job.run(finetune_job(spec, adapter, settings))
    folder = job.out / spec.name
    assert (folder / "adapters" / adapter.folder_name / "adapter_model.safetensors").is_file()
    told = job.run(benchmark_job(spec, cell, settings))
    assert "fine-tune:" not in told
    record = CellFolder(folder / "cells" / cell.key).record()
    assert record is not None
    assert record["status"] == "ok"
    (row,) = record["rows"]
    assert (row["profile"], row["basis"], row["ok"]) == (PROFILE, "emulated", 4)
    gathered = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "report.py"), "--out", str(job.out)],
        env={**job.environment, SWEEP_VARIABLE: spec.model_dump_json()},
        capture_output=True,
        text=True,
    )
    assert gathered.returncode == 0, gathered.stderr
    assert [each["key"] for each in read_rows(folder / "benchmark.parquet")] == [cell.key]
    assert "medsweep_ttft_mean_seconds{" in (folder / "metrics.prom").read_text()
    assert (folder / "report.html").is_file()
    written = (folder / "cells" / cell.key / "cell.json").stat().st_mtime_ns
    assert "load:" not in job.run(benchmark_job(spec, cell, settings))
    assert (folder / "cells" / cell.key / "cell.json").stat().st_mtime_ns == written
