"""Talk to one API server: retry what may succeed later, and report every refusal as a sentence.

The official client reads the kubeconfig and manages login and connections. Its typed classes are
not used: manifests are dictionaries from the renderer to the wire.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from medsweep.errors import EnvironmentFault, InputError, require
from medsweep.k8s.api_errors import api_fault, parse_status
from medsweep.k8s.resources import Resource

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

Object = dict[str, Any]

FIELD_MANAGER = "medsweep"
PAGE = 500
"""Objects per page of a list, as in kubectl."""

_CONNECT_S, READ_S = 10.0, 60.0
_RETRIED = (429, 500, 502, 503, 504)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_PATIENCE_NEW_S, _PATIENCE_S = 2.0, 600.0
"""Total wait for a server that has never answered, and for one that has: an upgrade of the control
plane takes minutes, and jobs continue during it."""


class Gone(Exception):
    """The API server no longer holds the requested version: list again."""


class Absent(EnvironmentFault):
    """The object does not exist."""


@dataclass(frozen=True)
class Request:
    """One request to an API server.

    Attributes:
        method: HTTP method.
        verb: as in RBAC rules, for messages.
        resource: kind of object.
        namespace: of the object; ignored for kinds that are not namespaced.
        name: of one object; empty for the collection.
        subresource: part of the object, such as `log`.
        query: parameters of the URL.
        body: object to send.
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
        """Namespace and name, without the parts that the request does not have."""
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
        wait: sleeps for a number of seconds.
    """

    def __init__(self, client: ApiClient, wait: Callable[[float], object] = time.sleep) -> None:
        self.client, self._wait = client, wait
        self._reached = False

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self.client.configuration.host).rstrip("/")

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return one object, or None if it does not exist."""
        try:
            return self.call(Request("GET", "get", resource, namespace, name))
        except Absent:
            return None

    def pages(self, resource: Resource, namespace: str, selector: str = "") -> Iterator[Object]:
        """Yield the pages of a list; each has `items` and `metadata.resourceVersion`.

        Args:
            resource: kind of object.
            namespace: to list; empty for all.
            selector: label selector.

        Raises:
            Gone: the server no longer holds the remaining pages; list again.
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
        """Return every object in a namespace that a label selector matches."""
        while True:
            try:
                pages = self.pages(resource, namespace, selector)
                return [value for page in pages for value in page["items"]]
            except Gone:
                continue

    def apply(self, resource: Resource, manifest: Object) -> Object:
        """Apply a manifest server-side; applying the same manifest again changes nothing.

        Raises:
            EnvironmentFault: another field manager owns some fields, or the cluster refuses.
            InputError: the manifest is invalid.
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
        """Create an object that must not exist yet."""
        return self.call(Request("POST", "create", resource, namespace, body=manifest))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object, if it exists, and in the background what it owns."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self.call(Request("DELETE", "delete", resource, namespace, name, body=body))
        except Absent:
            return

    def version(self) -> str:
        """Return the version of the API server, such as `v1.36.0`."""
        import urllib3

        try:
            # This path belongs to no resource.
            response = self._send("GET", "/version", None, "", READ_S, preload=True)
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(_innermost(error)) from None
        return str(parse_status(response.data).get("gitVersion", "unknown"))

    def stream(self, request: Request, read_s: float) -> BaseHTTPResponse:
        """Return an open response that arrives in chunks, such as a watch or a log.

        Args:
            request: to send.
            read_s: longest time between two chunks, in seconds.

        Raises:
            Gone: the server no longer holds the requested version.
            Absent: the object does not exist.
        """
        return self._retry(request, read_s, preload=False)

    def call(self, request: Request) -> Object:
        """Send a request; return the object in the response."""
        value: Object = json.loads(self._retry(request, READ_S, preload=True).data)
        return value

    def _retry(self, request: Request, read_s: float, *, preload: bool) -> BaseHTTPResponse:
        """Send a request until it succeeds, is refused, or has taken too long."""
        import urllib3

        waited, pause = 0.0, _FIRST_WAIT_S
        while True:
            retry_after = None
            try:
                response = self._send(
                    request.method,
                    request.path,
                    request.body,
                    request.content_type,
                    read_s,
                    preload=preload,
                )
            except urllib3.exceptions.SSLError as error:
                raise EnvironmentFault(
                    f"{self.server}: its certificate is not trusted: {_innermost(error)}"
                ) from None
            except urllib3.exceptions.HTTPError as error:
                reason = _innermost(error)
            else:
                self._reached = True
                if response.status < 400:
                    return response
                _raise_if_final(response, request)
                reason = f"HTTP {response.status}"
                retry_after = response.headers.get("Retry-After")
            # The server knows better than we do when to retry.
            delay = float(retry_after) if retry_after and retry_after.isdigit() else pause
            if waited + delay > (_PATIENCE_S if self._reached else _PATIENCE_NEW_S):
                raise self._unreachable(reason)
            self._wait(delay)
            waited, pause = waited + delay, min(2 * pause, _LONGEST_WAIT_S)

    def _unreachable(self, reason: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"{self.server}: the cluster does not answer ({reason}); check the context of the "
            "kubeconfig and the network; jobs in the cluster keep running, and the same command "
            "finds them again"
        )

    def _send(
        self,
        method: str,
        path: str,
        body: Object | None,
        content_type: str,
        read_s: float,
        *,
        preload: bool,
    ) -> BaseHTTPResponse:
        import urllib3

        headers = {"Accept": "application/json", **self.client.default_headers}
        if body is not None:
            headers["Content-Type"] = content_type
        # For each request, because this renews a login that has expired.
        self.client.update_params_for_auth(headers, [], ["BearerToken"])
        response: BaseHTTPResponse = self.client.rest_client.pool_manager.request(
            method,
            f"{self.server}{path}",
            headers=headers,
            body=None if body is None else json.dumps(body),
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
            retries=False,
            preload_content=preload,
        )
        return response


def _raise_if_final(response: BaseHTTPResponse, request: Request) -> None:
    """Raise the error that a response stands for, unless a retry may succeed."""
    body = response.data
    if response.status == 410:
        raise Gone
    details = parse_status(body).get("details") or {}
    if response.status == 404 and request.name and details.get("name") == request.name:
        raise Absent(f"{request.resource.title} {request.where}: there is no such object")
    if response.status not in _RETRIED:
        raise api_fault(response.status, body, request.verb, request.resource, request.where)


def _innermost(error: BaseException) -> str:
    """Return the message of the last error in a chain: the others only wrap it."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException) and reason is not error:
        error, reason = reason, getattr(reason, "reason", None)
    return str(error).rpartition(": ")[2] or type(error).__name__


def connect(context: str | None = None, user: str | None = None) -> Api:
    """Return the API server of a kubeconfig's context, or of the cluster that this runs in.

    Args:
        context: name in the kubeconfig; None means the current one.
        user: to impersonate, such as `system:serviceaccount:medsweep:medsweep-sweep`.

    Raises:
        EnvironmentFault: no cluster is configured.
        InputError: the kubeconfig has no such context.
    """
    require("kubernetes")
    import urllib3
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_kube_config(
            # The client reads the variable only once, when it is imported.
            config_file=os.environ.get("KUBECONFIG"),
            context=context,
            client_configuration=configuration,
        )
    except config.ConfigException as missing:
        if context is not None:
            raise InputError(
                f"--context {context}: {missing}; `kubectl config get-contexts` lists them"
            ) from None
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            raise EnvironmentFault(
                f"no cluster: {str(missing).rstrip('.')}; give a kubeconfig as KUBECONFIG, "
                "or run this in a cluster"
            ) from None
    if not configuration.verify_ssl:
        # As the kubeconfig says; urllib3 would write a warning about it for each request.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    api_client = client.ApiClient(configuration)
    if user is not None:
        api_client.set_default_header("Impersonate-User", user)
    return Api(api_client)
