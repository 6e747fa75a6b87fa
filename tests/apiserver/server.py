"""The HTTP side of the API server in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from apiserver.discovery import discover
from apiserver.merge import merge
from apiserver.rules import allowed
from apiserver.store import Key, Object, Refused, Store, selected

T = TypeVar("T")
TOKEN = "a-token-of-this-test"


@dataclass
class Failure:
    """What goes wrong, and how often.

    Attributes:
        status: HTTP status to answer with; 0 cuts the connection.
        times: how often.
        verb: of which requests; empty for all.
        headers: of the answer.
    """

    status: int
    times: int = 1
    verb: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class ApiServer:
    """An API server on a free port of 127.0.0.1, in a thread; as a context it is stopped again.

    Args:
        check: returns what is wrong with an object, or with its part that is written alone.
        exec_: what a command in a container writes.
    """

    def __init__(
        self,
        check: Callable[[Object, str], list[str]] | None = None,
        exec_: Callable[[list[str]], bytes] | None = None,
    ) -> None:
        self.store = Store()
        self.failures: list[Failure] = []
        self.requests: list[tuple[str, str]] = []
        self.logs: dict[str, str] = {}
        self.tokens = {TOKEN}
        self.anonymous = False
        """Whether to answer without a token, which Go's clients do not send without TLS."""
        self.outcomes: list[Object | None] = []
        """Of the next commands in containers, `None` for none; without one a command succeeds."""
        self._check, self._exec = check, exec_
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._watches: set[asyncio.Transport] = set()
        self.url = ""

    def __enter__(self) -> ApiServer:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        cluster = {"name": "here", "cluster": {"server": self.url}}
        user = {"name": "me", "user": {"token": TOKEN}}
        context = {"name": "test", "context": {"cluster": "here", "user": "me"}}
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [user],
            "contexts": [context],
            "current-context": "test",
        }
        path.write_text(json.dumps(value))
        return path

    def drop_watches(self) -> None:
        """Cut every open watch."""
        self._do(lambda: [each.abort() for each in self._watches])

    def forget(self) -> None:
        """Forget every version but the present, as a compacted etcd does."""

        def compact() -> None:
            self.store.forgotten = self.store.version
            self.store.log.clear()

        self._do(compact)

    def count(self, verb: str) -> int:
        """Return how many requests of a verb came."""
        return sum(each == verb for each, _ in self.requests)

    def _do(self, what: Callable[[], T]) -> T:
        async def run() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application(client_max_size=8 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._started.set()
        self._loop.run_forever()
        # Open watches wait for changes that will not come.
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Refused as refused:
            return web.json_response(refused.status, status=refused.code)
        except Exception as error:  # noqa: BLE001
            # Not 500: the client would ask again, and the test would wait.
            return web.Response(status=400, text=f"fault of the test's API server: {error!r}")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response({"gitVersion": "v1.36.0", "major": "1", "minor": "36"})
        allowed = {f"Bearer {each}" for each in self.tokens}
        if not self.anonymous and request.headers.get("Authorization") not in allowed:
            raise Refused(401, "Unauthorized", "Unauthorized")
        answer = discover(self.store, request.path)
        if answer is not None:
            return web.json_response(answer)
        kind, version, namespace, name, part = self._where(request.path)
        verb = _verb(request, name)
        self.requests.append((verb, request.path_qs))
        for failure in self.failures:
            if failure.times and failure.verb in ("", verb):
                failure.times -= 1
                if not failure.status:
                    assert request.transport is not None
                    request.transport.abort()
                return web.Response(status=failure.status or 500, headers=failure.headers)
        self._authorize(request, verb, kind, namespace, part)
        if kind[1] == "selfsubjectaccessreviews":
            return await self._review(request)
        if kind not in self.store.kinds:
            return web.Response(status=404, text="404 page not found")
        if part == "log":
            self.store.get(kind, namespace, name)
            return web.Response(text=self.logs.get(name, ""))
        if part == "exec":
            return await self._execute(request)
        if verb == "watch":
            return await self._watch(request, kind, namespace)
        answer = await self._object(request, verb, kind, version, namespace, name, part)
        async with self.store.changed:
            self.store.changed.notify_all()
        return web.json_response(answer)

    async def _object(
        self,
        request: web.Request,
        verb: str,
        kind: Key,
        version: str,
        namespace: str,
        name: str,
        part: str,
    ) -> Object:
        store, query = self.store, request.query
        manager = query.get("fieldManager", "unknown")
        if verb == "get":
            return store.get(kind, namespace, name)
        if verb == "list":
            return self._list(kind, version, namespace, query.get("labelSelector", ""), query)
        if verb == "delete":
            return store.delete(kind, namespace, name)
        body = await request.json()
        if verb == "create":
            self._checked(body)
            return store.create(kind, namespace, body, manager)
        if request.content_type == "application/apply-patch+yaml":
            self._checked(body)
            return store.apply(kind, namespace, name, body, manager)
        if verb == "update":
            self._checked(body)
            return store.update(kind, namespace, name, body, manager)
        self._checked(merge(store.get(kind, namespace, name), body), part)
        return store.patch(kind, namespace, name, body, part, manager)

    def _checked(self, body: Object, part: str = "") -> None:
        wrong = self._check(body, part) if self._check else []
        if wrong:
            raise Refused(422, "Invalid", f"{body['metadata']['name']} is invalid: {wrong[0]}")

    def _list(self, kind: Key, version: str, namespace: str, selector: str, query: Any) -> Object:
        items = self.store.all(kind, namespace, selector)
        # The token names a version, as the real one does, and is forgotten with it.
        at, _, first = query.get("continue", f"{self.store.version}:0").partition(":")
        if int(at) < self.store.forgotten:
            raise Refused(410, "Expired", "The provided continue parameter is too old")
        begin, limit = int(first), int(query.get("limit", "0")) or len(items) + 1
        rest = items[begin : begin + limit]
        metadata: Object = {"resourceVersion": at}
        if begin + limit < len(items):
            metadata["continue"] = f"{at}:{begin + limit}"
        return {"kind": "List", "apiVersion": version, "metadata": metadata, "items": rest}

    async def _watch(self, request: web.Request, kind: Key, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        selector = request.query.get("labelSelector", "")

        async def send(type_: str, value: Object) -> None:
            await response.write(json.dumps({"type": type_, "object": value}).encode() + b"\n")

        if seen < self.store.forgotten:
            await send("ERROR", Refused(410, "Expired", "too old resource version").status)
            return response
        transport = request.transport
        assert transport is not None
        self._watches.add(transport)
        try:
            while True:
                for event in self.store.since(seen):
                    seen = event.version
                    if event.kind == kind and selected(event.value, selector):
                        await send(event.type, event.value)
                if transport.is_closing():
                    return response
                async with self.store.changed:
                    await self.store.changed.wait_for(
                        lambda at=seen: self.store.version > at  # type: ignore[misc]
                    )
        except ConnectionError:
            return response
        finally:
            self._watches.discard(transport)

    def _authorize(
        self, request: web.Request, verb: str, kind: Key, namespace: str, part: str
    ) -> None:
        user = request.headers.get("Impersonate-User")
        resource = f"{kind[1]}/{part}" if part else kind[1]
        if user is None or kind[1] == "selfsubjectaccessreviews":
            return
        if not allowed(self.store, user, verb, kind[0], resource, namespace):
            message = f'User "{user}" cannot {verb} resource "{resource}" in "{namespace}"'
            raise Refused(403, "Forbidden", message)

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        attributes = body["spec"]["resourceAttributes"]
        user = request.headers.get("Impersonate-User")
        resource = "/".join(filter(None, (attributes["resource"], attributes.get("subresource"))))
        may = user is None or allowed(
            self.store,
            user,
            attributes["verb"],
            attributes.get("group", ""),
            resource,
            attributes.get("namespace", ""),
        )
        return web.json_response({**body, "status": {"allowed": may}})

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        """Run a command: standard output on channel 1, the outcome on channel 3."""
        assert self._exec is not None
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        outcome = self.outcomes.pop(0) if self.outcomes else {"status": "Success"}
        output = self._exec(request.query.getall("command"))
        for begin in range(0, len(output), 65536):
            await socket.send_bytes(b"\x01" + output[begin : begin + 65536])
        if outcome is not None:
            await socket.send_bytes(b"\x03" + json.dumps(outcome).encode())
        await socket.close()
        return socket

    def _where(self, path: str) -> tuple[Key, str, str, str, str]:
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            group, version, rest = "", parts[1], parts[2:]
        else:
            group, version, rest = parts[1], parts[2], parts[3:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        name, part = (*rest[1:], "", "")[:2]
        api_version = f"{group}/{version}" if group else version
        return (group, rest[0]), api_version, namespace, name, part


def _verb(request: web.Request, name: str) -> str:
    if request.method == "GET":
        if request.query.get("watch"):
            return "watch"
        return "get" if name else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]
