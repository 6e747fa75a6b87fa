"""The objects of the API server in this process, each change with a version."""

from __future__ import annotations

import asyncio
import bisect
import copy
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apiserver.merge import IDENTITY, Conflict, Owners, apply, find, leaves, merge

Object = dict[str, Any]
Key = tuple[str, str]
"""Group and plural."""

BUILT_IN: dict[Key, tuple[str, bool]] = {
    ("", "namespaces"): ("Namespace", False),
    ("", "nodes"): ("Node", False),
    ("", "configmaps"): ("ConfigMap", True),
    ("", "pods"): ("Pod", True),
    ("", "secrets"): ("Secret", True),
    ("", "services"): ("Service", True),
    ("", "serviceaccounts"): ("ServiceAccount", True),
    ("", "persistentvolumeclaims"): ("PersistentVolumeClaim", True),
    ("", "resourcequotas"): ("ResourceQuota", True),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ("CustomResourceDefinition", False),
    ("batch", "jobs"): ("Job", True),
    ("networking.k8s.io", "networkpolicies"): ("NetworkPolicy", True),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): ("ClusterRoleBinding", False),
    ("rbac.authorization.k8s.io", "clusterroles"): ("ClusterRole", False),
    ("rbac.authorization.k8s.io", "roles"): ("Role", True),
    ("rbac.authorization.k8s.io", "rolebindings"): ("RoleBinding", True),
    ("storage.k8s.io", "storageclasses"): ("StorageClass", False),
}


@dataclass
class Event:
    """One change, for those who watch."""

    version: int
    kind: Key
    type: str
    value: Object


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        code: HTTP status.
        reason: in Kubernetes' words.
        message: for a person.
        details: of the Status object.
    """

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
            "details": details,
        }


@dataclass
class Store:
    """All objects, and the log of their changes."""

    kinds: dict[Key, tuple[str, bool]] = field(default_factory=lambda: dict(BUILT_IN))
    version: int = 1
    forgotten: int = 0
    log: list[Event] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writes: Counter[str] = field(default_factory=Counter)
    webhooks: list[Callable[[Object], None]] = field(default_factory=list)
    """Each changes an object that is being created; nobody owns what it sets."""
    _objects: dict[Key, dict[tuple[str, str], Object]] = field(default_factory=dict)
    _owners: dict[str, Owners] = field(default_factory=dict)

    def since(self, version: int) -> list[Event]:
        """Return the changes after a version, oldest first."""
        return self.log[bisect.bisect_right(self.log, version, key=lambda each: each.version) :]

    def get(self, kind: Key, namespace: str, name: str) -> Object:
        """Return one object."""
        result = self._objects.get(kind, {}).get((namespace, name))
        if result is None:
            raise Refused(404, "NotFound", f'{kind[1]} "{name}" not found', name=name, kind=kind[1])
        return result

    def all(self, kind: Key, namespace: str, selector: str) -> list[Object]:
        """Return the objects that a selector picks, by name."""
        return [
            value
            for (where, _), value in sorted(self._objects.get(kind, {}).items())
            if namespace in ("", where) and selected(value, selector)
        ]

    def apply(self, kind: Key, namespace: str, name: str, wanted: Object, manager: str) -> Object:
        """Apply: create, change, or leave as it is."""
        current = self._objects.get(kind, {}).get((namespace, name))
        if current is None:
            return self.create(kind, namespace, wanted, manager)
        wanted = {key: value for key, value in wanted.items() if key != "status"}
        try:
            result = apply(current, wanted, self._owners[current["metadata"]["uid"]], manager)
        except Conflict as conflict:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{owner}"',
                    "field": "." + ".".join(path),
                }
                for path, owner in conflict.fields.items()
            ]
            raise Refused(
                409, "Conflict", "Apply failed", name=name, kind=kind[1], causes=causes
            ) from None
        return self._write(kind, namespace, name, result)

    def create(self, kind: Key, namespace: str, value: Object, manager: str) -> Object:
        """Create an object."""
        name = value["metadata"]["name"]
        if (namespace, name) in self._objects.get(kind, {}):
            raise Refused(409, "AlreadyExists", f"{name} already exists", name=name)
        if self.kinds[kind][1]:
            home = self.get(("", "namespaces"), "", namespace)
            if home["metadata"].get("deletionTimestamp"):
                raise Refused(
                    403,
                    "Forbidden",
                    f"unable to create new content in namespace {namespace}",
                    causes=[{"reason": "NamespaceTerminating", "field": "metadata.namespace"}],
                )
        self._check_quotas(kind, namespace, name)
        result = {key: part for key, part in copy.deepcopy(value).items() if key != "status"}
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        uid = str(uuid.uuid4())
        result["metadata"] |= {"uid": uid, "generation": 1, "creationTimestamp": created}
        if kind == ("", "nodes"):  # whoever makes a node says what it has
            result["status"] = copy.deepcopy(value.get("status", {}))
        self._owners[result["metadata"]["uid"]] = {
            path: manager for path, _ in leaves(value) if path not in IDENTITY
        }
        for webhook in self.webhooks:
            webhook(result)
        if kind == ("apiextensions.k8s.io", "customresourcedefinitions"):
            spec = value["spec"]
            self.kinds[spec["group"], spec["names"]["plural"]] = (
                spec["names"]["kind"],
                spec["scope"] == "Namespaced",
            )
        return self._write(kind, namespace, name, result, "ADDED")

    def _check_quotas(self, kind: Key, namespace: str, name: str) -> None:
        """Refuse one more object of a kind whose number a ResourceQuota limits."""
        what = f"count/{'.'.join(part for part in reversed(kind) if part)}"
        for quota in self.all(("", "resourcequotas"), namespace, ""):
            limit, used = quota["spec"]["hard"].get(what), len(self.all(kind, namespace, ""))
            if limit is not None and used >= int(limit):
                raise Refused(
                    403,
                    "Forbidden",
                    f'{what.removeprefix("count/")} "{name}" is forbidden: exceeded quota: '
                    f"{quota['metadata']['name']}, requested: {what}=1, used: {what}={used}, "
                    f"limited: {what}={limit}",
                    name=name,
                )

    def update(self, kind: Key, namespace: str, name: str, value: Object, manager: str) -> Object:
        """Replace an object but for its status; the manager owns each field that it changes."""
        current = self.get(kind, namespace, name)
        version = value["metadata"].get("resourceVersion", current["metadata"]["resourceVersion"])
        if version != current["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", "the object has been modified", name=name)
        result = copy.deepcopy(value)
        result.pop("status", None)
        result |= {"status": current["status"]} if "status" in current else {}
        self._own_changes(current, result, manager)
        return self._write(kind, namespace, name, result)

    def _own_changes(self, current: Object, result: Object, manager: str) -> None:
        """Give a manager the fields that it changed, as a real server's managedFields do."""
        owners = self._owners[current["metadata"]["uid"]]
        after = {path: value for path, value in leaves(result) if path[0] != "status"}
        for path in [path for path in owners if path not in after]:
            del owners[path]
        for path, value in after.items():
            if path not in IDENTITY and find(current, path) != value:
                owners[path] = manager

    def patch(
        self, kind: Key, namespace: str, name: str, patch: Object, part: str, manager: str
    ) -> Object:
        """Apply a merge patch to an object, or to its status alone."""
        current = self.get(kind, namespace, name)
        if part == "status":
            patch = {"status": patch.get("status")}
        elif kind != ("", "nodes"):
            patch = {key: value for key, value in patch.items() if key != "status"}
        result = merge(copy.deepcopy(current), patch)
        self._own_changes(current, result, manager)
        return self._write(kind, namespace, name, result)

    def delete(self, kind: Key, namespace: str, name: str) -> Object:
        """Delete an object and all that it owns; one with finalizers is only marked."""
        value = self.get(kind, namespace, name)
        if value["metadata"].get("finalizers"):
            marked = copy.deepcopy(value)
            marked["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            return self._write(kind, namespace, name, marked)
        del self._objects[kind][namespace, name]
        self.version += 1
        value = copy.deepcopy(value)
        value["metadata"]["resourceVersion"] = str(self.version)
        self.log.append(Event(self.version, kind, "DELETED", value))
        for theirs, where, what in list(self._owned(value["metadata"]["uid"])):
            self.delete(theirs, where, what)
        return value

    def _owned(self, uid: str) -> Iterator[tuple[Key, str, str]]:
        for kind, objects in self._objects.items():
            for (namespace, name), value in objects.items():
                owners = value["metadata"].get("ownerReferences", [])
                if any(owner["uid"] == uid for owner in owners):
                    yield kind, namespace, name

    def _write(
        self, kind: Key, namespace: str, name: str, value: Object, type_: str = "MODIFIED"
    ) -> Object:
        objects = self._objects.setdefault(kind, {})
        if objects.get((namespace, name)) == value:
            return value
        self.version += 1
        self.writes[kind[1]] += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        objects[namespace, name] = value
        self.log.append(Event(self.version, kind, type_, copy.deepcopy(value)))
        metadata = value["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            return self.delete(kind, namespace, name)
        return value


def selected(value: Object, selector: str) -> bool:
    """Whether an object has all labels of an equality selector."""
    labels = value["metadata"].get("labels", {})
    wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
    return all(labels.get(key) == what for key, what in wanted.items())
