"""What clients such as Helm and kubectl ask first: which kinds the API server has."""

from __future__ import annotations

from apiserver.store import BUILT_IN, Object, Store

_CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")


def discover(store: Store, path: str) -> Object | None:
    """Return the answer to a discovery path; None if it is another path."""
    parts = path.strip("/").split("/")
    groups = _groups(store)
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        named = [
            {"name": group, "versions": [_version(group, each) for each in versions]}
            for group, versions in groups.items()
            if group
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
    if parts == ["api", "v1"]:
        return _resources(store, "", "v1")
    if len(parts) == 3 and parts[0] == "apis" and parts[2] in groups.get(parts[1], ()):
        return _resources(store, parts[1], f"{parts[1]}/{parts[2]}")
    return None


def _groups(store: Store) -> dict[str, list[str]]:
    """Return the versions of each group."""
    groups = {group: ["v1"] for group, _ in BUILT_IN}
    for crd in store.all(_CRDS, "", ""):
        spec = crd["spec"]
        groups[spec["group"]] = [each["name"] for each in spec["versions"] if each["served"]]
    return groups


def _version(group: str, version: str) -> Object:
    return {"groupVersion": f"{group}/{version}", "version": version}


def _resources(store: Store, group: str, api_version: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": key[1], "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs}
        for key, (kind, namespaced) in store.kinds.items()
        if key[0] == group
    ]
    return {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}
