"""`make cluster-demo`: what can be known of it without docker."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from crds import ROOT, faults
from medsweep.config import load_config
from medsweep.k8s.render import benchmark_job, finetune_job
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.spec import SweepSpec
from operator_rules import broken
from support import tool

from .conftest import planned

DEMO = ROOT / "k8s" / "demo"
TOOLS = ("docker", "kubectl", "helm", "kind")


def demo(folder: Path, charts: str = "", **tools: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only some tools are, each of them a line of shell."""
    for name, line in tools.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(tool(name))
    return subprocess.run(
        [tool("bash"), str(DEMO / "demo.sh")],
        env={"PATH": str(folder), "KUBERAY_CHARTS": charts},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_not_installed_is_named_all_at_once(tmp_path: Path) -> None:
    done = demo(tmp_path, docker="exit 0")
    assert done.returncode == 4
    assert done.stderr == "cluster-demo: not installed: kubectl,helm,kind or k3d\n"


def test_it_says_where_the_address_of_the_operator_s_chart_is(tmp_path: Path) -> None:
    done = demo(tmp_path, **dict.fromkeys(TOOLS, "echo $0 was called; exit 1"))
    assert (done.returncode, done.stdout) == (4, "")
    assert "KUBERAY_CHARTS is not set" in done.stderr
    assert "`helm repo add kuberay`" in done.stderr


def test_a_daemon_that_does_not_answer_is_said_before_anything_is_made(tmp_path: Path) -> None:
    failing = dict.fromkeys(TOOLS, "echo $0 was called; exit 1")
    done = demo(tmp_path, "file:///charts", **failing)
    assert done.returncode == 4
    assert "docker does not answer" in done.stderr
    assert done.stdout == ""


def test_its_environment_has_the_client_of_the_api_server() -> None:
    """It is no part of `run`, and the script needs it only after minutes, at its last step."""
    recipe = (ROOT / "Makefile").read_text().partition("\ncluster-demo: ")[2].partition("\n\n")[0]
    (extras,) = re.findall(r"pip install .*'\.\[([\w,]+)\]'", recipe)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        Requirement(each).name
        for extra in extras.split(",")
        for each in project["optional-dependencies"][extra]
    }
    assert {"kubernetes", "ray"} <= names


@pytest.mark.skipif(not os.access(DEMO / "demo.sh", os.X_OK), reason="no file modes here")
def test_its_sweep_is_two_jobs_that_a_laptop_holds() -> None:
    spec = load_config(SweepSpec, DEMO / "sweep.yaml", [])
    settings = load_config(ClusterSettings, DEMO / "cluster.yaml", [])
    plan = planned(spec)
    [cell], [adapter] = plan.runnable, plan.adapters.values()
    jobs = [finetune_job(spec, adapter, settings), benchmark_job(spec, cell, settings)]
    for job in jobs:
        assert broken(job) == []
        assert faults(job) == []
        cluster = job["spec"]["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        containers = [group["template"]["spec"]["containers"][0] for group in groups]
        assert {each["image"] for each in containers} == {"medsweep:demo-cpu"}
        memory = [each["resources"]["limits"]["memory"] for each in containers]
        assert sum(int(each.removesuffix("Gi")) for each in memory) <= 6
