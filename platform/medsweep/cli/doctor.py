"""`medsweep doctor`: check this machine for everything that a sweep needs."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path

from medsweep.cli.options import RESULTS, add_json
from medsweep.errors import EXIT_DONE, MedSweepError
from medsweep.hardware.profile import GIB

_LEAST_FREE_BYTES, _FREE_BYTES = 1 * GIB, 10 * GIB
_LEAST_MEMORY_BYTES = 4 * GIB
# Ray keeps its objects in shared memory; with less it falls back to the disk.
_SHARED_BYTES = 1 * GIB
_HUB_TIMEOUT_S = 5.0
_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        state: `ok`; `warn` where something will not work that not every sweep needs; or `fail`.
        what: its subject.
        finding: what there is.
        advice: what to do; empty if the state is `ok`.
    """

    state: str
    what: str
    finding: str
    advice: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="where results go; default: results",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line for each check, and what to do; return 1 if one failed."""
    checks = []
    for check in (python, processor, torch, gpu, ray, hub, *_disks(options.out), cluster):
        for found in _guarded(check):
            checks.append(found)
            if not options.json:
                print(f"{_SIGNS[found.state]}  {found.what}: {found.finding}", flush=True)
                if found.advice:
                    print(f"      {found.advice}", flush=True)
    failed = any(each.state == "fail" for each in checks)
    if options.json:
        import json

        print(json.dumps([asdict(each) for each in checks], indent=2))
    return MedSweepError.exit_code if failed else EXIT_DONE


def _guarded(check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield what a check finds; one that breaks is a finding too, and the others go on."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 a broken installation raises anything
        name = getattr(check, "__name__", "check")
        yield Check("fail", name, f"{type(error).__name__}: {error}", "fix what the message names")


def python() -> Iterator[Check]:
    """Say which interpreter this is; the package installs on none that is too old."""
    yield Check("ok", "Python", f"{platform.python_version()}, {sys.prefix}")


def processor() -> Iterator[Check]:
    """Check processors and memory that this process may use."""
    from medsweep.hardware.observe import observe_host

    host = observe_host()
    yield Check("ok", "processor", f"{host.usable_cpus:g} CPUs, {host.cpu_model or 'unknown'}")
    memory = f"{host.memory_bytes / GIB:.1f} GiB"
    if host.memory_bytes < _LEAST_MEMORY_BYTES:
        yield Check("warn", "memory", memory, "the demo needs 4 GiB; `bench` works with less")
    else:
        yield Check("ok", "memory", memory)


def _version(package: str) -> str | None:
    if util.find_spec(package) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown version"


def torch() -> Iterator[Check]:
    """Check PyTorch and the packages of fine-tuning and serving."""
    remedy = "for fine-tuning and serving: pip install 'medsweep[run]'"
    for package, name in (
        ("torch", "PyTorch"),
        ("transformers", "Transformers"),
        ("peft", "PEFT"),
        ("uvicorn", "uvicorn"),
    ):
        version = _version(package)
        if version is None:
            yield Check("warn", name, "not installed", remedy)
        else:
            yield Check("ok", name, version)


def gpu() -> Iterator[Check]:
    """Check whether PyTorch can use the GPUs that the driver shows."""
    from medsweep.hardware.nvidia import nvml_fault, observe_gpus

    gpus = observe_gpus()
    if not gpus:
        fault = nvml_fault()
        if fault and Path("/proc/driver/nvidia").exists():
            yield Check(
                "fail", "GPU", fault, "repair NVIDIA's driver: `nvidia-smi` must list the GPU"
            )
        else:
            yield Check("ok", "GPU", "none; sweeps run on the processor")
        return
    names = ", ".join(f"{each.name} ({each.memory_bytes / GIB:.0f} GiB)" for each in gpus)
    if util.find_spec("torch") is None:
        yield Check("ok", "GPU", names)
        return
    import torch as framework

    if framework.cuda.is_available():
        yield Check("ok", "GPU", f"{names}, CUDA {framework.version.cuda}")
    else:
        yield Check(
            "fail",
            "GPU",
            f"{names}, but PyTorch {framework.__version__} does not see it",
            "install a build of PyTorch for CUDA that fits the driver: pip install torch==2.13.0 "
            "--index-url https://download.pytorch.org/whl/cu126",
        )


def ray() -> Iterator[Check]:
    """Check Ray and the shared memory that it needs."""
    version = _version("ray")
    if version is None:
        yield Check("warn", "Ray", "not installed", "for whole sweeps: pip install 'medsweep[run]'")
        return
    shared = Path("/dev/shm")  # noqa: S108 the system's folder, read only
    free = shutil.disk_usage(shared).free if shared.is_dir() else None
    if free is not None and free < _SHARED_BYTES:
        yield Check(
            "warn",
            "Ray",
            f"{version}; only {free / GIB:.1f} GiB of shared memory are free",
            "give the container more: `docker run --shm-size=4g`",
        )
    else:
        yield Check("ok", "Ray", version)


def hub() -> Iterator[Check]:
    """Check whether weights and data can be fetched."""
    if util.find_spec("huggingface_hub") is None:
        yield Check(
            "warn", "model hub", "its client is not installed", "pip install 'medsweep[hub]'"
        )
        return
    import urllib.error
    import urllib.request

    from huggingface_hub import constants, get_token

    login = "with a token" if get_token() else "without a token (gated models need one)"
    if constants.HF_HUB_OFFLINE:
        yield Check("ok", "model hub", f"off (HF_HUB_OFFLINE); cache: {constants.HF_HUB_CACHE}")
        return
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        yield Check(
            "warn",
            "model hub",
            f"{constants.ENDPOINT} was not reached: {getattr(error, 'reason', error)}",
            f"name a mirror in HF_ENDPOINT, or copy weights to {constants.HF_HUB_CACHE}; "
            "stand-ins and smollm2-135m do not need it",
        )
        return
    yield Check("ok", "model hub", f"{constants.ENDPOINT}, {login}")


def _disks(out: Path) -> list[Callable[[], Iterator[Check]]]:
    from medsweep.models.cache import cache_root

    def disk(what: str, folder: Path) -> Callable[[], Iterator[Check]]:
        def look() -> Iterator[Check]:
            yield _disk(what, folder)

        return look

    return [
        disk("results", out),
        disk("cache", cache_root()),
        disk("temporary files", Path(tempfile.gettempdir())),
    ]


def _disk(what: str, folder: Path) -> Check:
    """Check that a folder, or the one that it will be made in, can be written and has room."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    finding = f"{folder}: {free / GIB:.1f} GiB free"
    if not os.access(there, os.W_OK):
        return Check("fail", what, f"{folder}: cannot be written", f"make {there} writable")
    if free < _LEAST_FREE_BYTES:
        return Check("fail", what, finding, "free some space: a sweep needs at least 1 GiB")
    if free < _FREE_BYTES:
        return Check("warn", what, finding, "weights of 8B models alone take 16 GiB")
    return Check("ok", what, finding)


def cluster() -> Iterator[Check]:
    """Check the cluster of the kubeconfig, where there is one."""
    default = Path("~/.kube/config").expanduser()
    if "KUBECONFIG" not in os.environ and not default.is_file():
        yield Check("ok", "cluster", "none configured (KUBECONFIG); sweeps run on this machine")
        return
    from medsweep.k8s.client import connect
    from medsweep.k8s.doctor import examine
    from medsweep.k8s.settings import ClusterSettings

    more = "`medsweep k8s doctor` lists every check"
    try:
        checks = list(examine(connect(), ClusterSettings()))
    except MedSweepError as error:
        yield Check("warn", "cluster", str(error), more)
        return
    bad = [each for each in checks if each.state == "failed"]
    if not bad:
        yield Check("ok", "cluster", f"{checks[0].finding}, ready for sweeps")
    for each in bad:
        yield Check("warn", f"cluster, {each.what}", each.finding, each.advice or more)
