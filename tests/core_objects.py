"""Objects of Kubernetes' own kinds, checked against the published client's models of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

MODELS = {
    "v1": "V1",
    "batch/v1": "V1",
    "networking.k8s.io/v1": "V1",
    "rbac.authorization.k8s.io/v1": "V1",
}


def core_faults(manifest: dict[str, Any]) -> list[str]:
    """Return fields that an API server would drop, and values that it would refuse.

    Raises:
        LookupError: the kind is not one of Kubernetes' own.
    """
    from kubernetes import client

    name = MODELS.get(manifest["apiVersion"], "?") + manifest["kind"]
    if not hasattr(client, name):
        raise LookupError(f"{manifest['apiVersion']} {manifest['kind']} is not a core object")
    unknown = list(_unknown(name, manifest, manifest["kind"]))
    try:
        client.ApiClient().deserialize(SimpleNamespace(data=json.dumps(manifest)), name)
    except ValueError as error:
        unknown.append(str(error))
    return unknown


def _unknown(kind: str, value: Any, at: str) -> Iterator[str]:
    from kubernetes import client

    inner = re.fullmatch(r"list\[(.*)\]|dict\(str, (.*)\)", kind)
    if inner and isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unknown(inner[1], each, f"{at}[{number}]")
    elif inner and inner[2] and isinstance(value, dict):
        for key, each in value.items():
            yield from _unknown(inner[2], each, f"{at}.{key}")
    elif hasattr(client, kind):
        model = getattr(client, kind)
        if not isinstance(value, dict):
            yield f"{at}: {value!r} is not a mapping"
            return
        fields = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
        for key, each in value.items():
            if key not in fields:
                yield f"{at}: no field {key}"
            else:
                yield from _unknown(fields[key], each, f"{at}.{key}")
    elif kind == "str" and not isinstance(value, str):
        yield f"{at}: {value!r} is not a text"
    elif kind == "int" and (isinstance(value, bool) or not isinstance(value, int)):
        yield f"{at}: {value!r} is not a whole number"
    elif kind == "bool" and not isinstance(value, bool):
        yield f"{at}: {value!r} is not true or false"
