"""The small web server of a run: Prometheus' metrics, and pages for people beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, MutableMapping
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

Page = Callable[[], tuple[str, bytes]]
"""Returns a content type and a body."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the library's name
        """Write nothing: standard error is the progress'."""


class LiveServer:
    """Serves pages by path, and metrics at every other path.

    Args:
        port: TCP port; 0 takes a free one.
        host: address to listen on.
        metrics: WSGI application of the metrics.

    Attributes:
        pages: by path; only requests that name this machine itself get them, so that no page of
            the web can read them through a name that it controls.

    Raises:
        OSError: the port is in use.
    """

    def __init__(self, port: int, host: str, metrics: Callable[..., Iterable[bytes]]) -> None:
        self.pages: dict[str, Page] = {}
        self._metrics = metrics
        self._server = make_server(host, port, self._answer, _Server, _Silent)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(
        self, environ: MutableMapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        page = self.pages.get(environ["PATH_INFO"])
        if page is None:
            return self._metrics(environ, start_response)
        named = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
        if named not in _LOOPBACK:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"this page is for this machine alone\n"]
        kind, body = page()
        start_response("200 OK", [("Content-Type", kind), ("Cache-Control", "no-store")])
        return [body]
