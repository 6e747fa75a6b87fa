"""Write constraints.txt: what the images hold, at the versions of this environment, with hashes.

Needs uv, which asks the package index for the hashes:

.venv/bin/pip install uv && .venv/bin/python k8s/images/freeze.py
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("deepspeed", "gcs", "k8s", "quant", "run", "s3")
HEAD = "# What the images hold beside torch: versions that the tests ran with, files by hash.\n"


Seen = set[tuple[str, frozenset[str]]]


def needed(name: str, extras: frozenset[str], seen: Seen) -> Iterator[str]:
    """Yield the names of a distribution's own requirements, and of theirs."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            child = canonicalize_name(requirement.name)
            # torch comes from an index of its own, and brings CUDA with it.
            if child != "torch":
                yield child
                yield from needed(child, frozenset(requirement.extras), seen)


def main() -> None:
    """Write the file."""
    names = set(needed("medsweep", frozenset(EXTRAS), set()))
    pins = [f"{name}=={distribution(name).version}\n" for name in sorted(names)]
    # No dependencies: torch would bring its CUDA packages, which its own index serves.
    command = ["uv", "pip", "compile", "--no-deps", "--generate-hashes", "--no-annotate"]
    command += ["--no-header", "--python-version", "3.11", "-"]
    done = subprocess.run(
        command, input="".join(pins), text=True, stdout=subprocess.PIPE, check=True
    )
    Path(__file__).with_name("constraints.txt").write_text(HEAD + done.stdout)


if __name__ == "__main__":
    main()
