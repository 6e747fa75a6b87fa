"""A commented sweep file to start from, generated from the configuration classes."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from medsweep.config import Closed, field_meanings
from medsweep.sweep.spec import SweepSpec

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


def sweep_template() -> str:
    """Return the text of a sweep file that names every field, with its meaning and default."""
    return f"{HEAD}{_section(SweepSpec, STARTING, indent='')}"


def _section(model: type[Closed], given: dict[str, Any], indent: str) -> str:
    meanings = field_meanings(model)
    return "".join(
        _field(name, field, meanings[name], given, indent)
        for name, field in model.model_fields.items()
    )


def _field(name: str, field: FieldInfo, meaning: str, given: dict[str, Any], indent: str) -> str:
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
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip().removesuffix("...").strip()
