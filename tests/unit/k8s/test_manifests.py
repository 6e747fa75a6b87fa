"""The files below `k8s/`: generated ones are those of their source, all of them are right."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core_objects import core_faults
from crds import ROOT, faults
from medsweep.hardware.catalog import ACCELERATORS, PROFILES
from medsweep.k8s.conventions import USER_ID, image_family
from medsweep.k8s.render import benchmark_job
from medsweep.k8s.settings import ClusterSettings
from network import CLOUD_IDENTITY, CLUSTER_DNS, reach, templates_of
from operator_rules import broken
from support import make_spec, tool

from .conftest import planned

Manifest = dict[str, Any]

K8S = ROOT / "k8s"
OVERLAYS = {
    "base": 12,
    "demo": 13,
    "overlays/kueue": 26,
    "overlays/namespace": 12,
    "overlays/object-store": 12,
    "overlays/team": 14,
}
FAMILIES = ("cpu", "cu126", "cu13")


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("script", K8S / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return script("generate.py")


@pytest.fixture(scope="module")
def built() -> dict[str, list[Manifest]]:
    """What kustomize makes of base and overlays."""
    return {name: kustomize(K8S / name) for name in OVERLAYS}


def kustomize(folder: Path) -> list[Manifest]:
    command = [tool("kubectl"), "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def test_another_namespace_binds_its_own_accounts(
    built: dict[str, list[Manifest]], tmp_path: Path
) -> None:
    shutil.copytree(K8S / "base", tmp_path / "base")
    (tmp_path / "team").mkdir()
    overlay = {"kind": "Kustomization", "namespace": "team-b", "resources": ["../base"]}
    (tmp_path / "team" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    cases = {"team-a": built["overlays/namespace"], "team-b": kustomize(tmp_path / "team")}
    for namespace, manifests in cases.items():
        names = {each["metadata"].get("namespace", namespace) for each in manifests}
        assert names == {namespace}
        subjects = [subject for each in manifests for subject in each.get("subjects", [])]
        assert [subject["namespace"] for subject in subjects] == [namespace] * 2
    (binding,) = (each for each in cases["team-a"] if each["kind"] == "ClusterRoleBinding")
    assert binding["metadata"]["name"] == "medsweep-nodes-team-a"


def test_generated_files_are_those_of_their_source(generator: ModuleType) -> None:
    files = generator.generated()
    assert len(files) > 15
    assert generator.stale(files) == [], "run `make manifests`"


def test_a_stale_file_is_found(generator: ModuleType) -> None:
    files = generator.generated()
    path = next(iter(files))
    assert generator.stale({**files, path: "changed"}) == [path]
    del files[path]
    assert generator.stale(files) == [path]  # there, and no longer made


def test_there_is_a_sample_for_every_cell_of_the_paper_that_can_run() -> None:
    kinds = [path.name.partition("-")[0] for path in (K8S / "samples").glob("*.yaml")]
    refused = (K8S / "samples" / "README.md").read_text().count("| refused:")
    assert kinds.count("rayjob.benchmark") + refused == 12
    assert kinds.count("rayjob.finetune") == kinds.count("rayservice.serve") == 3


@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_makes_objects_that_an_api_server_takes(
    name: str, built: dict[str, list[Manifest]]
) -> None:
    manifests = built[name]
    assert len(manifests) == OVERLAYS[name]
    for manifest in manifests:
        custom = "." in manifest["apiVersion"] and "k8s.io/v1" not in manifest["apiVersion"]
        if custom or manifest["apiVersion"].startswith("kueue"):
            assert faults(manifest) == []
        else:
            assert core_faults(manifest) == []


def test_every_yaml_below_k8s_is_looked_at() -> None:
    kinds = set()
    ours = {K8S / "sweep.yaml", K8S / "demo/sweep.yaml", K8S / "demo/cluster.yaml"}
    files = [path for path in K8S.rglob("*.yaml") if path not in ours]
    assert len(files) > 20
    for path in files:
        for document in yaml.safe_load_all(path.read_text()):
            kinds.add(document["kind"])
            if path.parent.name == "samples":
                assert broken(document) == []
                assert faults(document) == []
    assert kinds == {
        *("RayJob", "RayService", "Kustomization", "ResourceFlavor", "ClusterQueue", "LocalQueue"),
        *("Namespace", "ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim"),
        *(
            "PersistentVolume",
            "ResourceQuota",
            "NetworkPolicy",
            "ClusterRole",
            "ClusterRoleBinding",
        ),
    }


def test_core_objects_that_are_wrong_are_found() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}
    assert core_faults(account) == []
    assert core_faults({**account, "automount": True}) == ["ServiceAccount: no field automount"]
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}
    assert any("role_ref" in fault for fault in core_faults(binding))


def test_the_defaults_fit_together(built: dict[str, list[Manifest]]) -> None:
    settings = ClusterSettings()
    names = {(each["kind"], each["metadata"]["name"]) for each in built["base"]}
    assert ("Namespace", settings.namespace) in names
    assert ("ServiceAccount", settings.service_account) in names
    assert ("PersistentVolumeClaim", settings.results_claim) in names
    (claim,) = (each for each in built["base"] if each["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for manifest in built["base"]:
        if manifest["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
            assert manifest["metadata"]["namespace"] == settings.namespace


def test_an_object_store_has_a_claim_to_work_on(built: dict[str, list[Manifest]]) -> None:
    (claim,) = (
        each for each in built["overlays/object-store"] if each["kind"] == "PersistentVolumeClaim"
    )
    assert claim["metadata"]["name"] == "medsweep-models"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_only_an_object_store_needs_the_cloud_s_identity(built: dict[str, list[Manifest]]) -> None:
    for name, identity in (("base", []), ("overlays/object-store", CLOUD_IDENTITY)):
        default, jobs = (
            next(each for each in built[name] if each["metadata"]["name"] == policy)
            for policy in ("medsweep-default", "medsweep-jobs")
        )
        assert reach(default, 53) == CLUSTER_DNS
        assert reach(default) == []
        assert reach(jobs) == [("0.0.0.0/0", 443), *identity]


def test_the_namespace_takes_restricted_pods_alone(built: dict[str, list[Manifest]]) -> None:
    (namespace,) = (each for each in built["base"] if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_roles_hold_no_wildcard_and_no_secret(built: dict[str, list[Manifest]]) -> None:
    roles = [each for each in built["base"] if each["kind"] in ("Role", "ClusterRole")]
    assert len(roles) == 3
    for role in roles:
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"*", "secrets", "escalate", "impersonate", "deletecollection"} & set(words)
    (binding,) = (each for each in built["base"] if each["kind"] == "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["medsweep-controller"]


def test_the_role_of_fetch_is_enough_alone(built: dict[str, list[Manifest]]) -> None:
    """Its pod is created, listed and watched until it runs, used, and deleted."""
    (role,) = (each for each in built["base"] if each["metadata"]["name"] == "medsweep-fetch")
    verbs = {rule["resources"][0]: set(rule["verbs"]) for rule in role["rules"]}
    assert verbs["pods"] >= {"create", "list", "watch", "delete"}
    assert verbs["pods/exec"] == {"get", "create"}


def test_there_is_a_flavor_and_a_quota_for_every_pool(built: dict[str, list[Manifest]]) -> None:
    pools = {
        each["spec"]["nodeLabels"]["medsweep.io/gpu"]: each["metadata"]["name"]
        for each in built["overlays/kueue"]
        if each["kind"] == "ResourceFlavor"
    }
    assert set(pools) == {"none", *ACCELERATORS}
    (queue,) = (each for each in built["overlays/kueue"] if each["kind"] == "ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    quotas = {flavor["name"]: flavor["resources"] for flavor in group["flavors"]}
    assert set(quotas) == set(pools.values())
    # Otherwise Kueue reports that a head fits no other pool, not which quota a job waits for.
    assert list(quotas)[-1] == pools["none"]
    for profile in PROFILES.values():
        assert profile.accelerator is not None
        given = {
            each["name"]: each["nominalQuota"] for each in quotas[pools[profile.accelerator.slug]]
        }
        assert given["nvidia.com/gpu"] >= profile.gpus
        assert given["cpu"] >= profile.cpus


def dockerfile(family: str) -> str:
    return (K8S / "images" / f"Dockerfile.{family}").read_text()


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_pinned_and_not_root(family: str) -> None:
    text = dockerfile(family)
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("USER ")] == [f"USER {USER_ID}:{USER_ID}"]
    assert lines[-1].startswith("USER ")
    (base,) = re.findall(r"^ARG PYTHON=(\S+)\nFROM \$\{PYTHON\}$", text, flags=re.M)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    (torch,) = re.findall(r"pip install torch==(\S+) ", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = map(Requirement, project["optional-dependencies"]["run"])
    (wanted,) = (each for each in needed if each.name == "torch")
    assert wanted.specifier.contains(torch)
    assert f"TORCH ?= torch=={torch}\n" in (ROOT / "Makefile").read_text()
    assert not re.search(r"(:latest|curl .*\| *(ba)?sh|ADD http)", text)


def copied(text: str) -> list[str]:
    """What a Dockerfile takes from the repository."""
    lines = re.findall(r"^COPY (.*) \S+$", text, flags=re.M)
    return sorted(each for line in lines for each in line.split())


def test_the_build_context_is_what_the_images_take() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = sorted(line[1:].removesuffix("/*.py") for line in lines if line.startswith("!"))
    assert [copied(dockerfile(family)) for family in FAMILIES] == [sent] * len(FAMILIES)
    assert all((ROOT / each).exists() for each in sent)


VLLM = [
    "# vLLM has an environment of its own beside this one.",
    "ENV MEDSWEEP_ENGINES=/opt/medsweep/engines",
    "RUN medsweep engines install vllm",
]


def test_images_differ_in_their_cuda_and_in_vllm_alone() -> None:
    texts = {family: dockerfile(family).splitlines()[2:] for family in FAMILIES}
    at = texts["cu13"].index(VLLM[0])
    assert texts["cu13"][at : at + len(VLLM)] == VLLM  # below our code: it runs our command
    del texts["cu13"][at : at + len(VLLM)]
    # GKE mounts the driver there; Triton compiles its launchers.
    gpu = "ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64"
    expected = texts["cpu"]
    place = next(n for n, line in enumerate(expected) if line.startswith("ENV PIP"))
    for family in ("cu126", "cu13"):
        lines = texts[family]
        assert lines[place + 1].startswith(gpu)
        del lines[place : place + 4]  # with its comment
        differing = [
            (ours, theirs)
            for ours, theirs in zip(expected, lines, strict=True)
            if ours
            != theirs.replace(" gcc: Triton compiles its launchers with it.", "").replace(
                " gcc libc6-dev", ""
            )
        ]
        assert len(differing) == 1
        assert differing[0][1].endswith(f"/{family}0" if family == "cu13" else f"/{family}")
    assert {image_family(profile) for profile in PROFILES.values()} == {"cu126", "cu13"}


@pytest.mark.parametrize("family", ["cu126", "cu13"])
def test_gpu_images_find_a_driver_that_gke_mounts(family: str) -> None:
    """At /usr/local/nvidia; and NVIDIA's runtime mounts nvidia-smi only with `utility`."""
    text = dockerfile(family).replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if "LD_LIBRARY_PATH" in line)
    assert dict(word.split("=", 1) for word in line.split()[1:]) == {
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64",
        "PATH": "/usr/local/nvidia/bin:${PATH}",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    # A pod's own value would take the place of the image's.
    spec = make_spec(name="s", cells=["distilgpt2@1xv100-1cpu"])
    for template in templates_of(benchmark_job(spec, planned(spec).cells[0], ClusterSettings())):
        (container,) = template["spec"]["containers"]
        names = {each["name"] for each in container["env"]}
        assert not names & {"LD_LIBRARY_PATH", "PATH", "NVIDIA_VISIBLE_DEVICES"}


def test_constraints_pin_what_the_package_asks_for() -> None:
    torch_brings = ("setuptools",)
    text = (K8S / "images" / "constraints.txt").read_text()
    entry = r"^([\w.-]+)==(\S+)((?: \\\n {4}--hash=sha256:[0-9a-f]{64})+)$"
    entries = re.findall(entry, text, re.MULTILINE)
    assert len(entries) == text.count("=="), "every pin has its hashes"
    pins = {name: version for name, version, _ in entries}
    for dockerfile in (K8S / "images").glob("Dockerfile.*"):
        assert "--require-hashes --requirement constraints.txt" in dockerfile.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = [*project["dependencies"]]
    for extra in script("images/freeze.py").EXTRAS:
        dependencies += project["optional-dependencies"][extra]
    (others,) = (Requirement(each) for each in dependencies if each.startswith("medsweep["))
    for extra in others.extras:
        dependencies += project["optional-dependencies"][extra]
    requirements = [
        Requirement(each) for each in dependencies if not each.startswith(("torch", "medsweep["))
    ]
    assert len(requirements) > 20
    for requirement in requirements:
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
    # They need others in turn, which pip does not look for in the image.
    needed = [
        Requirement(each)
        for name, version in pins.items()
        for each in requires_of(name, version)
        if canonicalize_name(Requirement(each).name) not in ("torch", *torch_brings)
    ]
    assert len(needed) > 100
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            pin = pins[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin), requirement


def requires_of(name: str, version: str) -> list[str]:
    """Return what a package needs; nothing if it is not installed here in this very version."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return []
    return installed.requires or [] if installed.version == version else []
