"""What a user may do, by the Roles and RoleBindings in the store."""

from __future__ import annotations

from apiserver.store import Store

_RBAC = "rbac.authorization.k8s.io"


def allowed(store: Store, user: str, verb: str, group: str, resource: str, namespace: str) -> bool:
    """Whether a binding in the namespace gives the user the verb.

    Args:
        store: of the roles.
        user: who asks.
        verb: such as `create`.
        group: API group.
        resource: plural, with the subresource behind a slash.
        namespace: where.
    """
    if not namespace:
        return False
    for binding in store.all((_RBAC, "rolebindings"), namespace, ""):
        if user not in map(_subject, binding["subjects"]):
            continue
        role = store.get((_RBAC, "roles"), namespace, binding["roleRef"]["name"])
        for rule in role["rules"]:
            if (
                group in rule["apiGroups"]
                and resource in rule["resources"]
                and verb in rule["verbs"]
            ):
                return True
    return False


def _subject(subject: dict[str, str]) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return subject["name"]
