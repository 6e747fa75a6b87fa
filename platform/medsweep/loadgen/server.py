"""Plain questions to a server with OpenAI's API: which models it has, and one streamed answer.

For people and before a load test, not for measuring: nothing here is timed.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from medsweep.api_key import key_of_variable
from medsweep.errors import EnvironmentFault, InputError
from medsweep.loadgen.address import basic_credentials, check_url, public_url, route_url
from medsweep.loadgen.server_errors import describe_bytes, find_error
from medsweep.loadgen.sse import SseParser
from medsweep.reporter import harmless

_MOST_BYTES = 4 << 20
_READ_BYTES = 65_536


def find_model(
    base_url: str,
    *,
    api_key_env: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> str:
    """Return the name of the one model that a server has.

    Args:
        base_url: root of the API with its version.
        api_key_env: environment variable that holds the API key.
        headers: further headers.
        timeout_s: how long to wait for the answer, in seconds.

    Raises:
        InputError: it has several, which the message lists, or does not list them.
        EnvironmentFault: it does not answer.
    """
    request = _request(base_url, "models", None, api_key_env, headers or {})
    with _open(request, timeout_s) as answer:
        data = answer.read(_MOST_BYTES)
    try:
        names = [str(each["id"]) for each in json.loads(data)["data"]]
    except (ValueError, LookupError, TypeError):
        raise InputError(
            f"{public_url(base_url)}/models lists no models; name the model with --model"
        ) from None
    if len(names) == 1:
        return names[0]
    listed = ", ".join(map(harmless, names[:20])) or "none"
    raise InputError(
        f"{public_url(base_url)} has {len(names)} models; name one with --model: {listed}"
    )


def stream_answer(
    base_url: str,
    model: str,
    question: str,
    *,
    max_tokens: int,
    api_key_env: str | None = None,
    timeout_s: float = 120.0,
) -> Iterator[str]:
    """Yield the parts of a chat model's answer as they come.

    Raises:
        InputError: the server refuses the request.
        EnvironmentFault: it does not answer, or stops within the answer.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream": True,
    }
    request = _request(base_url, "chat/completions", body, api_key_env, {})
    parser = SseParser()
    with _open(request, timeout_s) as answer:
        try:
            while piece := answer.read1(_READ_BYTES):
                for data, _ in parser.feed(piece):
                    if data == b"[DONE]":
                        return
                    yield _part(data)
        except (OSError, HTTPException) as error:
            raise EnvironmentFault(
                f"{public_url(base_url)}: the answer broke off: {error}"
            ) from None


def count_tokens(
    base_url: str,
    model: str,
    prompt: str,
    *,
    endpoint: str = "chat",
    api_key_env: str | None = None,
    headers: Mapping[str, str] | None = None,
    ignore_eos: bool = False,
    timeout_s: float = 120.0,
) -> int:
    """Return how many tokens a server counts for a prompt, its template included.

    Args:
        base_url: root of the API with its version.
        model: the server's name of the model.
        prompt: the user's message, or the whole prompt of the completions endpoint.
        endpoint: `chat` or `completions`.
        api_key_env: environment variable that holds the API key.
        headers: further headers.
        ignore_eos: ask for an answer that goes on to its limit, to learn whether the server can.
        timeout_s: how long to wait for the answer, in seconds.

    Raises:
        InputError: the server refuses the request, or does not count.
        EnvironmentFault: it does not answer.
    """
    chat = endpoint == "chat"
    asked = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    body: dict[str, Any] = {"model": model, **asked, "max_tokens": 1, "temperature": 0.0}
    if ignore_eos:
        body["ignore_eos"] = True
    # Streamed, like the load: not every server answers otherwise.
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    route = "chat/completions" if chat else "completions"
    request = _request(base_url, route, body, api_key_env, headers or {})
    parser, counted = SseParser(), None
    with _open(request, timeout_s) as answer:
        for data, _ in [*parser.feed(answer.read(_MOST_BYTES)), *parser.end()]:
            with suppress(ValueError, AttributeError):
                usage = json.loads(data).get("usage") or {}
                counted = usage.get("prompt_tokens", counted)
    if not isinstance(counted, int):
        raise InputError(
            f"{public_url(base_url)} does not count tokens (`usage`), so prompts of a given length "
            "cannot be made for it; give prompts with --prompts"
        )
    return counted


def _part(event: bytes) -> str:
    try:
        chunk = json.loads(event)
    except ValueError:
        return ""
    if (error := find_error(chunk)) is not None:
        raise EnvironmentFault(f"the server reports an error: {error.message or error.kind}")
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    delta = choices[0].get("delta") or {} if choices else {}
    return str(delta.get("content") or "")


def _request(
    base_url: str,
    route: str,
    body: Mapping[str, Any] | None,
    api_key_env: str | None,
    headers: Mapping[str, str],
) -> urllib.request.Request:
    check_url(base_url)
    sent = {"User-Agent": "medsweep", "Accept": "application/json, text/event-stream"}
    if (credentials := basic_credentials(base_url)) is not None:
        sent["Authorization"] = credentials
    if api_key_env is not None:
        sent["Authorization"] = f"Bearer {key_of_variable(api_key_env)}"
    data = None
    if body is not None:
        data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    url = route_url(base_url, route)
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    url = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return urllib.request.Request(url, data, {**sent, **headers})  # noqa: S310 checked above


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _open(request: urllib.request.Request, timeout_s: float) -> HTTPResponse:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    place = public_url(request.full_url)
    try:
        return cast("HTTPResponse", opener.open(request, timeout=timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            message = describe_bytes(error.read(_READ_BYTES)).message
        told = f": {harmless(message)}" if message else ""
        raise InputError(f"{place} answers with status {error.code}{told}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise EnvironmentFault(f"{place} does not answer: {reason}") from None
