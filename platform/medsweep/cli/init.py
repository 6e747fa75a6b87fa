"""`medsweep init`: write a sweep file to start from: every field with its default, or ready."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import sweeps
from medsweep.errors import EXIT_DONE, InputError, UnknownName

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from medsweep.config import Closed

WIDTH = 100
HEAD = """\
# A sweep of MedSweep. Lines that begin with `#` and a field show its default.
# Check the file with `medsweep validate`; `medsweep plan` shows what it would run.
"""

# Fields without a default, and better values to start with: small enough for a laptop.
STARTING: dict[str, Any] = {
    "name": "my-sweep",
    "stand_ins": True,
    "cells": ["distilgpt2@host", "distilgpt2@1xv100-1cpu"],
    "load": {
        "points": [{"concurrency": 1, "requests": 16}, {"concurrency": 4, "requests": 64}],
    },
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path("sweep.yaml"),
        metavar="FILE",
        help="default: sweep.yaml",
    )
    parser.add_argument(
        "--template",
        metavar="NAME",
        help="write a ready sweep: paper, demo, gpu-vm, own-data; an unknown name lists all",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file; an existing file is never overwritten."""
    text = sweep_template() if options.template is None else _ready(options.template)
    try:
        with options.file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{options.file} exists already; give another name") from None
    except OSError as error:
        raise InputError(f"{options.file} cannot be written: {error.strerror}") from None
    print(f"{options.file}: edit it, then `medsweep plan {options.file}`")
    return EXIT_DONE


def _ready(name: str) -> str:
    """Return the text of a sweep that comes with the package."""
    ready = sweeps()
    if name not in ready:
        raise UnknownName("template", name, ready)
    return ready[name].read_text(encoding="utf-8")


def sweep_template() -> str:
    """Return the text of a sweep file that names every field, with its meaning and default."""
    from medsweep.sweep.spec import SweepSpec

    return f"{HEAD}{_section(SweepSpec, STARTING, indent='')}"


def _section(model: type[Closed], given: dict[str, Any], indent: str) -> str:
    from medsweep.config import field_meanings

    meanings = field_meanings(model)
    return "".join(
        _field(name, field, meanings[name], given, indent)
        for name, field in model.model_fields.items()
    )


def _field(name: str, field: FieldInfo, meaning: str, given: dict[str, Any], indent: str) -> str:
    from medsweep.config import Closed

    comment = textwrap.fill(
        meaning.replace("None", "null"),
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
    )
    nested = field.annotation
    if isinstance(nested, type) and issubclass(nested, Closed):
        body = _section(nested, given.get(name, {}), indent + "  ")
        return f"\n{comment}\n{indent}{name}:\n{body}"
    if name in given:
        return f"\n{comment}\n{indent}{name}:{_value(given[name], indent)}\n"
    return f"\n{comment}\n{indent}# {name}: {_flow(field.default)}\n"


def _value(value: Any, indent: str) -> str:
    """Return a value as text after its colon: on the same line, or as a block list below."""
    if isinstance(value, list):
        return "".join(f"\n{indent}  - {_flow(each)}" for each in value)
    return f" {_flow(value)}"


def _flow(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip().removesuffix("...").strip()
