"""Write the locks of the engines' environments: every package by version and hash of its wheel.

Needs uv, which resolves; pip then says which wheel this platform takes and what its hash is. Run it
with the Python that `environment.py` names, where torch's CPU build is to be had:

.venv/bin/pip install uv && .venv/bin/python tests/lock_engines.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from medsweep.serving.engines.environment import ENVIRONMENTS, EngineEnvironment

NOT_NEEDED = ("opencv-python-headless", "torchaudio", "torchcodec", "torchvision")
"""Of pictures and sound, which language models do without."""

NOT_NEEDED_ON_CPUS = ("triton",)
"""1 GB of a compiler for GPUs."""


def main() -> None:
    """Write them all."""
    for environment in ENVIRONMENTS.values():
        left_out = NOT_NEEDED + (() if environment.gpu else NOT_NEEDED_ON_CPUS)
        with tempfile.TemporaryDirectory() as scratch:
            pins = _resolve(environment, left_out, Path(scratch))
            lines = sorted(_pin(package) for package in _wheels(pins, Path(scratch)))
        environment.lock.write_text("".join(lines))
        print(f"{environment.lock.name}: {len(lines)} packages")


def _resolve(environment: EngineEnvironment, left_out: tuple[str, ...], scratch: Path) -> Path:
    wanted, overrides, pins = (scratch / name for name in ("wanted.in", "overrides", "pins.txt"))
    wanted.write_text(f"{environment.requirement}\n")
    overrides.write_text("".join(f"{name}; sys_platform == 'never'\n" for name in left_out))
    command = ["uv", "pip", "compile", str(wanted), "--overrides", str(overrides), "--quiet"]
    command += ["--no-annotate", "--no-header", "--generate-hashes", "--output-file", str(pins)]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    subprocess.run(command, check=True)
    return pins


def _wheels(pins: Path, scratch: Path) -> list[dict[str, Any]]:
    report = scratch / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--require-hashes", "--only-binary=:all:"]
    subprocess.run([*command, "--report", str(report), "--requirement", str(pins)], check=True)
    packages: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return packages


def _pin(package: dict[str, Any]) -> str:
    metadata = package["metadata"]
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name'].lower()}=={metadata['version']} --hash=sha256:{digest}\n"


if __name__ == "__main__":
    main()
