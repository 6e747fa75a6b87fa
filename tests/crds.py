"""The real CRDs as closed schemas: what an API server would refuse or drop is a fault here.

A CRD's schema is open where JSON Schema reads it: an API server drops fields that it does not know.
So every object with listed properties is closed. `x-kubernetes-int-or-string` stands beside a type
that holds for one of the two. Defaults are filled in before anything is asked for. The rules in CEL
are evaluated, those apart that compare with an earlier state of the object.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from support import skip

ROOT = Path(__file__).resolve().parent.parent


def crd_folder() -> Path:
    """Return the folder of the CRDs; without it skip."""
    folder = Path(os.environ.get("MEDSWEEP_CRD_DIR") or ROOT.parent / "shared" / "crds")
    if not folder.is_dir():
        skip(f"no CRDs in {folder}: give their folder as MEDSWEEP_CRD_DIR")
    return folder


def faults(manifest: dict[str, Any], part: str = "") -> list[str]:
    """Return what the API server would refuse or drop of a custom resource.

    Args:
        manifest: the whole object.
        part: look at this part of it alone, such as `status`.
    """
    from jsonschema import Draft202012Validator

    schema = schema_of(manifest["apiVersion"], manifest["kind"])
    if part:
        schema, manifest = schema["properties"][part], manifest[part]
    complete = with_defaults(schema, manifest)
    result = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(complete)
    ]
    return result or list(_broken_rules(schema, complete, ""))


@functools.cache
def schema_of(api_version: str, kind: str) -> dict[str, Any]:
    """Return the closed schema of a kind of custom resource."""
    group, _, version = api_version.partition("/")
    for path in sorted(crd_folder().glob(f"{group}_*.yaml")):
        # The kind stands in the first lines; some of these files are over a megabyte.
        if f"    kind: {kind}\n" not in path.read_text(encoding="utf-8")[:3000]:
            continue
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        for served in document["spec"]["versions"]:
            if served["name"] == version and served["served"]:
                schema = closed(served["schema"]["openAPIV3Schema"])
                # The server's own part of every object.
                schema["properties"]["metadata"] = {"type": "object"}
                return schema
    raise LookupError(f"no CRD of {api_version} {kind} in {crd_folder()}")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which every object with listed properties takes no other."""
    schema = dict(schema)
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    if schema.get("nullable"):
        schema["type"] = [schema.pop("type"), "null"]
    if "properties" in schema:
        schema["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = closed(schema["additionalProperties"])
    if isinstance(schema.get("items"), dict):
        schema["items"] = closed(schema["items"])
    return schema


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Return a value with the schema's defaults where nothing was given."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        complete = {
            name: copy.deepcopy(each["default"])
            for name, each in properties.items()
            if "default" in each and name not in value
        } | value
        return {name: with_defaults(_under(schema, name), complete[name]) for name in complete}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), each) for each in value]
    return value


def _under(schema: dict[str, Any], name: str) -> dict[str, Any]:
    more = schema.get("additionalProperties")
    result: dict[str, Any] = schema.get("properties", {}).get(
        name, more if isinstance(more, dict) else {}
    )
    return result


def _broken_rules(schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
    import cel

    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not cel.evaluate(rule["rule"], {"self": value}):
            yield f"{at}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _broken_rules(_under(schema, name), each, f"{at}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _broken_rules(schema.get("items", {}), each, f"{at}[{number}]")
