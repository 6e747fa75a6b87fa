"""The CRDs that the product meets, installed where they are not there, and taken away again."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from crds import crd_folder
from medsweep.errors import EnvironmentFault
from medsweep.k8s.client import Api
from medsweep.k8s.resources import CRDS, RAY_CLUSTERS, RAY_JOBS, RAY_SERVICES

Object = dict[str, Any]

_PATIENCE_S = 60.0


@functools.cache
def crd_documents(*, schemas: bool) -> list[Object]:
    """Return the CRDs; those of Kueue without the webhook that converts them.

    Args:
        schemas: with their schemas, which are megabytes.
    """
    documents = []
    for path in sorted(crd_folder().glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        head, _, versions = text.partition("\n  versions:\n")
        document = yaml.load(text if schemas else head, Loader=yaml.CSafeLoader)
        document["spec"].pop("conversion", None)
        if not schemas:
            names = re.findall(r"^(?:  - |    )name: (v\d\w*)$", versions, flags=re.MULTILINE)
            document["spec"]["versions"] = [{"name": name, "served": True} for name in names]
        documents.append(document)
    return documents


@contextmanager
def installed(api: Api, documents: list[Object]) -> Iterator[None]:
    """Install what is not there, wait until it is served, and take it away again.

    Args:
        api: the API server, with all rights.
        documents: the CRDs.
    """
    made: list[str] = []
    try:
        for document in documents:
            name = document["metadata"]["name"]
            until(lambda name=name: not _ending(api, name), f"CRD {name} is being deleted")
            if api.get(CRDS, "", name) is None:
                made.append(name)
                api.create(CRDS, "", document)
        until(lambda: _served(api), "Ray's kinds are not served")
        yield
    finally:
        for name in made:
            api.delete(CRDS, "", name)
        for name in made:
            until(lambda name=name: api.get(CRDS, "", name) is None, f"CRD {name} does not go")


def until(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until something holds of an API server, whose parts hear of each other with a delay."""
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.05)


def _ending(api: Api, name: str) -> bool:
    crd = api.get(CRDS, "", name)
    return crd is not None and "deletionTimestamp" in crd["metadata"]


def _served(api: Api) -> bool:
    """Whether Ray's kinds can be listed: that a CRD is established comes a little before."""
    try:
        for resource in (RAY_JOBS, RAY_CLUSTERS, RAY_SERVICES):
            api.objects(resource, "default")
    except EnvironmentFault:
        return False
    return True
