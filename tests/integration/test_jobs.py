"""The jobs' entrypoints, as KubeRay runs them: drivers on a Ray cluster that is there already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds import ROOT
from medsweep.cluster.emulation import EMULATED
from medsweep.cluster.local import ENVIRONMENT, OBJECT_STORE_BYTES
from medsweep.hardware.catalog import ACCELERATORS
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.render import SWEEP_VARIABLE
from medsweep.results.cells import CellFolder
from medsweep.results.store import read_rows
from medsweep.sweep.collect import gather
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(800)]

Manifest = dict[str, Any]

# A profile whose memory whoever runs the tests has.
PROFILE = HardwareProfile("1xv100-here", 1, 1, ACCELERATORS["v100"], 4 * GIB)
SWEEP = f"""\
name: small
stand_ins: true
cells: [distilgpt2@{PROFILE.name}]
own_profiles:
  - {{name: {PROFILE.name}, cpus: 1, gpus: 1, accelerator: v100, host_memory_gib: 4}}
dataset: {{sample: 100}}
finetune: {{epochs: 1, batch_size: 32, learning_rate: 1.5e-2, max_seq_length: 256, dropout: 0.0}}
load: {{points: [{{concurrency: 2, requests: 4}}], repeats: 1, max_tokens: 8}}
"""


@dataclass
class Job:
    """Runs what a manifest says, on a cluster of the test's own."""

    environment: dict[str, str]
    out: Path

    def run(self, manifest: Manifest) -> str:
        """Run the entrypoint with the head's sweep; return what it wrote."""
        entrypoint = manifest["spec"]["entrypoint"].removesuffix(" --metrics-port 9464")
        words = entrypoint.replace("/opt/medsweep", str(ROOT)).split()
        words[words.index("--out") + 1] = str(self.out)
        done = subprocess.run(
            [sys.executable, *words[1:]],
            env={**self.environment, SWEEP_VARIABLE: sweep_of(manifest)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr


def sweep_of(manifest: Manifest) -> str:
    """The sweep that a job's head is given."""
    head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in head["containers"][0]["env"]}
    sweep: str = variables[SWEEP_VARIABLE]
    return sweep


# The driver of the worker's node: it reports the profile's GPU, which PyTorch does not find.
REPORTS = """\
import sys
from medsweep.hardware.fake_nvml import FakeGpu, FakeNvml
gpu = FakeGpu(
    name={product!r},
    memory_bytes={memory},
    compute_capability={capability},
    utilisation_percent=None,
    power_mw=None,
    energy_mj=None,
)
sys.modules[__name__] = FakeNvml([gpu])
"""


def driver(folder: Path) -> Path:
    """A stand-in for the module `pynvml`, in a folder for PYTHONPATH."""
    gpu = ACCELERATORS["v100"]
    text = REPORTS.format(
        product=gpu.product, memory=gpu.memory_bytes, capability=gpu.compute_capability
    )
    (folder / "pynvml.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def job(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A Ray cluster of a head without CPUs and GPUs, and one worker that has the profile's."""
    folder = tempfile.mkdtemp(prefix="ms-", dir="/tmp")
    gpus = driver(tmp_path_factory.mktemp("driver"))
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
        with pytest.MonkeyPatch.context() as there:
            there.setenv("PYTHONPATH", str(gpus), prepend=os.pathsep)
            cluster.add_node(
                num_cpus=PROFILE.cpus,
                num_gpus=PROFILE.gpus,
                labels={**PROFILE.labels, EMULATED: "true"},
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


def rendered(job: Job, folder: Path) -> dict[str, Manifest]:
    """What `medsweep k8s render` prints of the sweep, by stage."""
    (folder / "small.yaml").write_text(SWEEP)
    done = subprocess.run(
        [sys.executable, "-m", "medsweep", "k8s", "render", str(folder / "small.yaml")],
        env=job.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    manifests = list(yaml.safe_load_all(done.stdout))
    return {each["metadata"]["labels"]["medsweep.io/stage"]: each for each in manifests}


def test_fine_tune_then_benchmark_then_nothing_again(job: Job, tmp_path: Path) -> None:
    manifests = rendered(job, tmp_path)
    assert set(manifests) == {"finetune", "benchmark"}
    adapter = manifests["finetune"]["metadata"]["labels"]["medsweep.io/adapter"]
    key = manifests["benchmark"]["metadata"]["labels"]["medsweep.io/cell"]
    job.run(manifests["finetune"])
    folder = job.out / "small"
    made = folder / "adapters" / f"standin-distilgpt2-{adapter}"
    assert (made / "adapter_model.safetensors").is_file()

    told = job.run(manifests["benchmark"])
    assert "fine-tune:" not in told
    record = CellFolder(folder / "cells" / key).record()
    assert record is not None
    assert record["status"] == "ok", record["reason"]
    (row,) = record["rows"]
    assert (row["profile"], row["basis"], row["ok"]) == (PROFILE.name, "observed", 4)
    # What the worker has and the driver's node has not; its dtype follows from it.
    assert row["device"] == "Tesla V100-SXM2-16GB"
    assert row["dtype_given"] == row["dtype"] == "float16"
    assert json.loads(row["versions"])["torch"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSWEEP_CACHE", job.environment["MEDSWEEP_CACHE"])
        spec = SweepSpec.model_validate_json(sweep_of(manifests["benchmark"]))
        summary = gather(resolve(spec, here=False), job.out, {})
    assert (summary.states, summary.failures) == ({"ok": 1}, {})
    assert [each["key"] for each in read_rows(folder / "benchmark.parquet")] == [key]
    assert "medsweep_ttft_mean_seconds{" in (folder / "metrics.prom").read_text()
    assert (folder / "report.html").is_file()

    written = (folder / "cells" / key / "cell.json").stat().st_mtime_ns
    assert "load:" not in job.run(manifests["benchmark"])
    assert (folder / "cells" / key / "cell.json").stat().st_mtime_ns == written
