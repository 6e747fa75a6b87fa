"""One API server: requests that are repeated as long as that can help, and faults in sentences.

The official client reads the kubeconfig, holds the login and the connections. Its typed classes
are left aside: manifests are dictionaries from the renderer to the wire.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.api_errors import fault, parse_status
from medsweep.k8s.resources import Resource

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

Object = dict[str, Any]

FIELD_MANAGER = "medsweep"
PAGE = 500
"""Objects a page of a list; kubectl takes as many."""

_CONNECT_S, READ_S = 10.0, 60.0
_AGAIN = (429, 500, 502, 503, 504)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_PATIENCE_NEW_S, _PATIENCE_S = 2.0, 600.0
"""How long to wait in all for a server that never answered, and for one that did: an upgrade of
the control plane takes minutes, and jobs go on meanwhile."""


class Gone(Exception):
    """The API server no longer holds the version that was asked for: list again."""


class Absent(EnvironmentFault):
    """There is no such object."""


@dataclass(frozen=True)
class Request:
    """One question to an API server.

    Attributes:
        method: of HTTP.
        verb: what is asked for in the words of permissions, for messages.
        resource: of what.
        namespace: where; not looked at for kinds without.
        name: of one object; empty for the collection.
        subresource: part of the object, such as `log`.
        query: parameters.
        body: what is sent.
        content_type: of the body.
    """

    method: str
    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content_type: str = "application/json"

    @property
    def where(self) -> str:
        """Namespace and name, as far as there are any."""
        namespace = self.namespace if self.resource.namespaced else ""
        return "/".join(part for part in (namespace, self.name) if part)

    @property
    def path(self) -> str:
        """Path and query of the URL."""
        path = self.resource.path(self.namespace, self.name, self.subresource)
        return f"{path}?{urlencode(self.query)}" if self.query else path


class Api:
    """One API server.

    Args:
        client: the official client, with its login.
        wait: how to wait, in seconds.
    """

    def __init__(self, client: ApiClient, wait: Callable[[float], object] = time.sleep) -> None:
        self.client, self._wait = client, wait
        self._reached = False

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self.client.configuration.host).rstrip("/")

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return one object, or None."""
        try:
            return self.call(Request("GET", "get", resource, namespace, name))
        except Absent:
            return None

    def pages(self, resource: Resource, namespace: str, selector: str = "") -> Iterator[Object]:
        """Yield the pages of a list; each has `items` and `metadata.resourceVersion`.

        Args:
            resource: what to list.
            namespace: where.
            selector: of labels.

        Raises:
            Gone: the rest of the pages is no longer held; list again.
        """
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = self.call(Request("GET", "list", resource, namespace, query=query))
            yield page
            following = page["metadata"].get("continue")
            if not following:
                return
            query = {**query, "continue": following}

    def objects(self, resource: Resource, namespace: str, selector: str = "") -> list[Object]:
        """Return every object of a list."""
        while True:
            try:
                pages = self.pages(resource, namespace, selector)
                return [each for page in pages for each in page["items"]]
            except Gone:
                continue

    def apply(self, resource: Resource, manifest: Object) -> Object:
        """Create an object or bring it to its manifest; the same manifest again changes nothing.

        Raises:
            EnvironmentFault: fields of it are someone else's, or the cluster will not do it.
            InputError: the manifest is wrong.
        """
        metadata = manifest["metadata"]
        return self.call(
            Request(
                "PATCH",
                "apply",
                resource,
                metadata.get("namespace", ""),
                metadata["name"],
                query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                body=manifest,
                content_type="application/apply-patch+yaml",
            )
        )

    def create(self, resource: Resource, namespace: str, manifest: Object) -> Object:
        """Create an object that must not be there yet."""
        return self.call(Request("POST", "create", resource, namespace, body=manifest))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object and, in the background, what it owns; one that is gone is fine."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self.call(Request("DELETE", "delete", resource, namespace, name, body=body))
        except Absent:
            return

    def version(self) -> str:
        """Return the version of the API server, such as `v1.36.0`."""
        import urllib3

        try:
            # Beside all groups, so no resource leads there.
            answer = self._once("GET", "/version", None, "", READ_S, whole=True)
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(_inner(error)) from None
        return str(parse_status(answer.data).get("gitVersion", "unknown"))

    def stream(self, request: Request, read_s: float) -> BaseHTTPResponse:
        """Return an open answer that comes bit by bit, such as a watch or a log.

        Args:
            request: what is asked.
            read_s: longest silence, in seconds.

        Raises:
            Gone: the version asked for is no longer held.
            Absent: there is no such object.
        """
        return self._answer(request, read_s, whole=False)

    def call(self, request: Request) -> Object:
        """Ask one question; return the object that is the answer."""
        value: Object = json.loads(self._answer(request, READ_S, whole=True).data)
        return value

    def _answer(self, request: Request, read_s: float, *, whole: bool) -> BaseHTTPResponse:
        """Ask until there is an answer, or patience is at its end."""
        import urllib3

        waited, pause = 0.0, _FIRST_WAIT_S
        while True:
            asked_for = None
            try:
                answer = self._once(
                    request.method,
                    request.path,
                    request.body,
                    request.content_type,
                    read_s,
                    whole=whole,
                )
            except urllib3.exceptions.SSLError as error:
                raise EnvironmentFault(f"{self.server}: is not trusted: {_inner(error)}") from None
            except urllib3.exceptions.HTTPError as error:
                reason = _inner(error)
            else:
                self._reached = True
                if answer.status < 400:
                    return answer
                _refuse(answer, request)
                reason = f"HTTP {answer.status}"
                asked_for = answer.headers.get("Retry-After")
            # The server's own word on when to come again counts for more than ours.
            delay = float(asked_for) if asked_for and asked_for.isdigit() else pause
            if waited + delay > (_PATIENCE_S if self._reached else _PATIENCE_NEW_S):
                raise self._silent(reason)
            self._wait(delay)
            waited, pause = waited + delay, min(2 * pause, _LONGEST_WAIT_S)

    def _silent(self, reason: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"{self.server}: the cluster does not answer ({reason}); check the context of the "
            "kubeconfig and the network; what runs in the cluster goes on, and the same command "
            "finds it again"
        )

    def _once(
        self,
        method: str,
        path: str,
        body: Object | None,
        content_type: str,
        read_s: float,
        *,
        whole: bool,
    ) -> BaseHTTPResponse:
        import urllib3

        headers = {"Accept": "application/json", **self.client.default_headers}
        if body is not None:
            headers["Content-Type"] = content_type
        # Asked for at each request: a login that lasts an hour is renewed here.
        self.client.update_params_for_auth(headers, [], ["BearerToken"])
        answer: BaseHTTPResponse = self.client.rest_client.pool_manager.request(
            method,
            f"{self.server}{path}",
            headers=headers,
            body=None if body is None else json.dumps(body),
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
            retries=False,
            preload_content=whole,
        )
        return answer


def _refuse(answer: BaseHTTPResponse, request: Request) -> None:
    """Raise what an answer means, unless the same question again may be answered."""
    body = answer.data
    if answer.status == 410:
        raise Gone
    details = parse_status(body).get("details") or {}
    if answer.status == 404 and request.name and details.get("name") == request.name:
        raise Absent(f"{request.resource.title} {request.where}: there is no such object")
    if answer.status not in _AGAIN:
        raise fault(answer.status, body, request.verb, request.resource, request.where)


def _inner(error: BaseException) -> str:
    """Return what the last link of a chain of errors says: the others only wrap it."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException) and reason is not error:
        error, reason = reason, getattr(reason, "reason", None)
    return str(error).rpartition(": ")[2] or type(error).__name__


def connect(context: str | None = None, user: str | None = None) -> Api:
    """Return the API server of a kubeconfig's context, or of the cluster that this runs in.

    Args:
        context: name in the kubeconfig; None takes the current one.
        user: whom to act as, such as `system:serviceaccount:medsweep:medsweep-sweep`.

    Raises:
        EnvironmentFault: there is no cluster to talk to.
        InputError: no such context.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise EnvironmentFault(
            "the Kubernetes client is not installed: pip install 'medsweep[k8s]'"
        ) from None
    configuration = client.Configuration()
    try:
        config.load_kube_config(
            # The client reads the variable once, when it is imported.
            config_file=os.environ.get("KUBECONFIG"),
            context=context,
            client_configuration=configuration,
        )
    except config.ConfigException as missing:
        if context is not None:
            raise InputError(
                f"--context {context}: {missing}; `kubectl config get-contexts` lists what there is"
            ) from None
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            raise EnvironmentFault(
                f"no cluster: {str(missing).rstrip('.')}; give a kubeconfig as KUBECONFIG, "
                "or run this inside a cluster"
            ) from None
    api_client = client.ApiClient(configuration)
    if user is not None:
        api_client.set_default_header("Impersonate-User", user)
    return Api(api_client)
