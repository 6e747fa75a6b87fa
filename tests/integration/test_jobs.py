"""The jobs' entrypoints, as KubeRay runs them: drivers on a Ray cluster that is there already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
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
from support import PAUSED

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


LOST = replace(PROFILE, name="1xv100-lost")
TWO = (
    SWEEP.replace("name: small", "name: two")
    .replace(f"[distilgpt2@{PROFILE.name}]", f"[distilgpt2@{PROFILE.name}, distilgpt2@{LOST.name}]")
    .replace(
        "dataset:",
        f"  - {{name: {LOST.name}, cpus: 1, gpus: 1, accelerator: v100, host_memory_gib: 4}}\n"
        "dataset:",
    )
    .replace("{concurrency: 2, requests: 4}", "{rate: 2, requests: 12}")
    .replace("max_tokens: 8", "max_tokens: 8, timeout_s: 30")
)


@dataclass
class Job:
    """Runs what a manifest says, on a cluster of the test's own."""

    environment: dict[str, str]
    out: Path
    cluster: Any
    gpus: Path
    """Folder of the driver of the workers' GPUs."""

    def add_worker(self, profile: HardwareProfile) -> Any:
        """Start a node that has a profile's hardware; return it."""
        with pytest.MonkeyPatch.context() as there:
            there.setenv("PYTHONPATH", str(self.gpus), prepend=os.pathsep)
            return self.cluster.add_node(
                num_cpus=profile.cpus,
                num_gpus=profile.gpus,
                labels={**profile.labels, EMULATED: "true"},
                object_store_memory=OBJECT_STORE_BYTES,
            )

    def start(self, sweep: str, log: Path, *before: str) -> subprocess.Popen[bytes]:
        """Start the benchmark of every cell of a sweep, with its messages in a file."""
        command = [*before, str(ROOT / "jobs" / "benchmark.py"), "--out", str(self.out)]
        with log.open("wb") as messages:
            return subprocess.Popen(
                [sys.executable, *command],
                env={**self.environment, SWEEP_VARIABLE: sweep},
                stderr=messages,
            )

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
        # What a submitter prints: nothing of Ray Serve's own, of a job that went well.
        printed = (done.stdout + done.stderr).splitlines()
        assert [line for line in printed if "raylet" in line or "Serve" in line] == []
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
        made = Job(
            {**os.environ, **environment, "RAY_ADDRESS": cluster.address},
            tmp_path_factory.mktemp("out"),
            cluster,
            driver(tmp_path_factory.mktemp("driver")),
        )
        try:
            made.add_worker(PROFILE)
            yield made
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def manifests(job: Job, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """What `medsweep k8s render` prints of the sweep, by stage; its fine-tune has run."""
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "small.yaml").write_text(SWEEP)
    done = subprocess.run(
        [sys.executable, "-m", "medsweep", "k8s", "render", str(folder / "small.yaml")],
        env=job.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = list(yaml.safe_load_all(done.stdout))
    manifests = {each["metadata"]["labels"]["medsweep.io/stage"]: each for each in printed}
    job.run(manifests["finetune"])
    return manifests


def test_fine_tune_then_benchmark_then_nothing_again(
    job: Job, manifests: dict[str, Manifest]
) -> None:
    assert set(manifests) == {"finetune", "benchmark"}
    adapter = manifests["finetune"]["metadata"]["labels"]["medsweep.io/adapter"]
    key = manifests["benchmark"]["metadata"]["labels"]["medsweep.io/cell"]
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


def lose(job: Job, node: Any) -> None:
    """Kill a node; return when none of its processes runs."""
    (raylet,) = node.all_processes["raylet"]
    process = psutil.Process(raylet.process.pid)
    processes = [process, *process.children(recursive=True)]
    job.cluster.remove_node(node, allow_graceful=False)
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert alive == []


@pytest.mark.timeout(600)
def test_a_node_lost_in_the_load_fails_its_cell_and_the_next_run_completes_it(
    job: Job, manifests: dict[str, Manifest], tmp_path: Path
) -> None:
    del manifests  # they made the adapter, which is the same
    shutil.copytree(job.out / "small" / "adapters", job.out / "two" / "adapters")
    spec = SweepSpec.model_validate(yaml.safe_load(TWO))
    sweep, node = spec.model_dump_json(exclude_defaults=True), job.add_worker(LOST)
    answered, resumed = tmp_path / "answered", tmp_path / "resumed"
    pause = ("-c", PAUSED, LOST.name, str(answered), str(resumed))
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    process = job.start(sweep, first, *pause)
    while not answered.exists() and process.poll() is None:
        time.sleep(0.1)
    lose(job, node)
    resumed.touch()
    code = process.wait(timeout=240)
    lines = first.read_text().splitlines()
    assert answered.exists(), lines
    assert code == 1, lines
    assert not any("fine-tune:" in line for line in lines)

    def cells() -> dict[str, CellFolder]:
        folders = map(CellFolder, (job.out / "two" / "cells").iterdir())
        return {each.record()["rows"][0]["profile"]: each for each in folders}

    (kept, lost) = (cells()[name] for name in (PROFILE.name, LOST.name))
    assert kept.record()["status"] == "ok"
    record = lost.record()
    assert (record["status"], len(record["rows"])) == ("failed", 1)
    assert record["reason"]
    assert record["rows"][0]["status"] == "failed"
    assert any(f"{LOST.name}: {record['reason']}" in line for line in lines)
    written = (kept.path / "cell.json").read_bytes()

    job.add_worker(LOST)
    code = job.start(sweep, second).wait(timeout=240)
    told = second.read_text()
    assert code == 0, told
    assert "2 cells: 1 done earlier, 1 to measure" in told
    assert (kept.path / "cell.json").read_bytes() == written
    record = lost.record()
    assert (record["status"], record["reason"]) == ("ok", None)
    assert [(row["status"], row["ok"]) for row in record["rows"]] == [("ok", 12)]
