"""The packages that the check needs beside PyTorch; README.md has them with their names."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType

PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "every stage": (
            "accelerate",
            "ahocorasick",
            "jinja2",
            "numpy",
            "orjson",
            "peft",
            "pint",
            "prometheus_client",
            "psutil",
            "pyarrow",
            "pydantic",
            "pynvml",
            "rich",
            "sacrebleu",
            "safetensors",
            "scipy",
            "simple_icd_10_cm",
            "tokenizers",
            "transformers",
            "yaml",
        ),
        "NF4 and int8": ("bitsandbytes",),
        "zero": ("cpuinfo", "deepspeed", "einops", "hjson", "msgpack", "ninja"),
        "endpoint": (
            "annotated_doc",
            "anyio",
            "fastapi",
            "httptools",
            "opentelemetry",
            "shtab",
            "starlette",
            "uvicorn",
            "uvloop",
        ),
        "sweep": ("pandas", "ray"),
    }
)
"""Modules by what needs them."""

_IMPORTS: Mapping[str, str] = MappingProxyType(
    {
        "every stage": "medsweep.finetune.session, medsweep.serving.engines.continuous, peft",
        "zero": "deepspeed",
        "endpoint": "medsweep.serving.http, medsweep.cli.serve, medsweep.cli.bench, "
        "medsweep.loadgen.fleet",
        "sweep": "medsweep.sweep.run, ray.serve, ray.train",
    }
)
"""What is imported to find what these packages need themselves."""


def missing() -> dict[str, list[str]]:
    """Return the modules that are not installed, by what needs them."""
    absent = {
        use: [name for name in modules if importlib.util.find_spec(name) is None]
        for use, modules in PACKAGES.items()
    }
    return {use: names for use, names in absent.items() if names}


def import_errors() -> dict[str, str]:
    """Return why what a stage imports cannot be imported, by stage."""
    errors = {}
    for use, modules in _IMPORTS.items():
        done = subprocess.run(
            [sys.executable, "-c", f"import {modules}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            errors[use] = done.stderr.strip().splitlines()[-1]
    return errors
