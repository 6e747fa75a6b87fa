"""The chart, rendered: every profile and mode in one call."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds import ROOT
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.own import OwnProfileSpec
from support import tool

Manifest = dict[str, Any]

CHART = ROOT / "helm" / "medsweep"
CLINIC = OwnProfileSpec(name="clinic-pc", cpus=4, host_memory_gib=16)
"""A profile of one's own without GPUs, which none of the nine is."""

ALL_PROFILES = (*PROFILES, CLINIC.name)
MODES = ("finetune", "benchmark", "serve")


@dataclass(frozen=True)
class Helm:
    """Helm, for one chart."""

    program: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it; whoever calls looks at the exit code."""
        return subprocess.run([self.program, *arguments], capture_output=True, text=True)

    def template(self, *arguments: str, chart: Path = CHART) -> list[Manifest]:
        """Return the objects that a release `bench` would be."""
        done = self.run("template", "bench", str(chart), "--namespace", "medsweep", *arguments)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if each]

    def refusal(self, *arguments: str) -> str:
        """Return what Helm says of values that the chart does not take."""
        done = self.run("template", "bench", str(CHART), *arguments)
        assert done.returncode != 0
        return done.stderr


def values_of(profile: str) -> dict[str, Any]:
    """Return the chart's values of a profile."""
    if profile != CLINIC.name:
        text = (CHART / "profiles" / f"{profile}.yaml").read_text()
        values: dict[str, Any] = yaml.safe_load(text)
        return values
    own = CLINIC.model_dump(mode="json", exclude_defaults=True)
    hardware = {"cpus": CLINIC.cpus, "gpus": 0, "gpu": "none", "memoryGi": CLINIC.host_memory_gib}
    return {
        "profile": {"name": CLINIC.name, **hardware, "imageFamily": "cpu"},
        "sweep": {"own_profiles": [own]},
    }


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm, or a skip."""
    return Helm(tool("helm"))


@pytest.fixture(scope="session")
def matrix(
    helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], list[Manifest]]:
    """What each profile, of the nine and one without GPUs, is in each mode, by (profile, mode).

    Each is a dependency of one chart around them, because a call takes longer than a rendering.
    """
    folder = tmp_path_factory.mktemp("matrix")
    shutil.copytree(CHART, folder / "charts" / "medsweep")
    pairs = [(profile, mode) for profile in ALL_PROFILES for mode in MODES]
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    around = {
        "apiVersion": "v2",
        "name": "around",
        "version": "0.0.0",
        "dependencies": [
            {"name": "medsweep", "version": version, "alias": f"{mode}-{profile}"}
            for profile, mode in pairs
        ],
    }
    values = {}
    for profile, mode in pairs:
        given = values_of(profile)
        values[f"{mode}-{profile}"] = {**given, "mode": mode, "queue": "medsweep"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(around))
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    result: dict[tuple[str, str], list[Manifest]] = {pair: [] for pair in pairs}
    for manifest in helm.template(chart=folder):
        labels = manifest["metadata"]["labels"]
        chart = labels["helm.sh/chart"].removesuffix(f"-{version}")
        mode, _, profile = chart.partition("-")
        result[profile, mode].append(manifest)
    return result
