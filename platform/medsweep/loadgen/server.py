"""Plain questions to a server with OpenAI's API: which models it has, and single answers.

For people, for judges and before a load test, not for measuring: nothing here is timed.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from medsweep.api_key import key_of_variable
from medsweep.errors import EnvironmentFault, InputError, cause_of
from medsweep.loadgen.address import basic_credentials, check_url, public_url, route_url
from medsweep.loadgen.server_errors import describe_bytes, find_error, without_quotes
from medsweep.loadgen.sse import SseParser
from medsweep.models.templates import Message
from medsweep.reporter import harmless

_MOST_BYTES = 4 << 20
_READ_BYTES = 65_536
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Reply:
    """One answer of a chat model.

    Attributes:
        text: the answer.
        prompt_tokens: tokens of the messages, as the server counts; None if it does not.
        output_tokens: tokens of the answer, as the server counts; None if it does not.
    """

    text: str
    prompt_tokens: int | None
    output_tokens: int | None


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
    data = _read(request, timeout_s)
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
    messages: Sequence[Message],
    *,
    max_tokens: int,
    api_key_env: str | None = None,
) -> Iterator[str]:
    """Yield the parts of a chat model's answer as they come; no error quotes the messages.

    Raises:
        InputError: the server refuses the request.
        EnvironmentFault: it does not answer, or stops within the answer.
    """
    body = {
        "model": model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream": True,
    }
    request = _request(base_url, "chat/completions", body, api_key_env, {})
    private = [message["content"] for message in messages]
    for chunk in _chunks(request, _TIMEOUT_S, private):
        yield _part(chunk, private)


def chat(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    api_key_env: str | None = None,
    timeout_s: float = 120.0,
) -> Reply:
    """Return a chat model's answer with its token counts.

    No error quotes the messages: they may be patient data.

    Args:
        base_url: root of the API with its version.
        model: the server's name of the model.
        messages: the conversation, each with `role` and `content`.
        max_tokens: longest answer.
        temperature: of sampling; 0 is greedy.
        seed: of sampling; None leaves it to the server.
        api_key_env: environment variable that holds the API key.
        timeout_s: longest silence of the server, in seconds.

    Raises:
        InputError: the server refuses the request.
        EnvironmentFault: it does not answer, or stops within the answer.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if seed is not None:
        body["seed"] = seed
    parts: list[str] = []
    counted: dict[str, Any] = {}
    request = _request(base_url, "chat/completions", body, api_key_env, {})
    private = [message["content"] for message in messages]
    for chunk in _chunks(request, timeout_s, private):
        parts.append(_part(chunk, private))
        if isinstance(chunk, dict) and isinstance(chunk.get("usage"), dict):
            counted |= chunk["usage"]
    tokens = (counted.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return Reply("".join(parts), *(each if isinstance(each, int) else None for each in tokens))


def count_tokens(
    base_url: str,
    model: str,
    prompt: str,
    *,
    endpoint: str = "chat",
    api_key_env: str | None = None,
    headers: Mapping[str, str] | None = None,
    ignore_eos: bool = False,
) -> int:
    """Return how many tokens a server counts for a prompt, its template included.

    Args:
        base_url: root of the API with its version.
        model: the server's name of the model.
        prompt: the user's message, or the whole prompt of the completions endpoint.
        endpoint: `chat` or `completions`.
        api_key_env: environment variable that holds the API key.
        headers: further headers.
        ignore_eos: ask for an answer up to its limit, to learn whether the server can.

    Raises:
        InputError: the server refuses the request, or does not count.
        EnvironmentFault: it does not answer.
    """
    chat = endpoint == "chat"
    content = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    body: dict[str, Any] = {"model": model, **content, "max_tokens": 1, "temperature": 0.0}
    if ignore_eos:
        body["ignore_eos"] = True
    # Streamed, like the load: not every server answers otherwise.
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    route = "chat/completions" if chat else "completions"
    request = _request(base_url, route, body, api_key_env, headers or {})
    parser, counted = SseParser(), None
    for data, _ in [*parser.feed(_read(request, _TIMEOUT_S)), *parser.end()]:
        with suppress(ValueError, AttributeError):
            usage = json.loads(data).get("usage") or {}
            counted = usage.get("prompt_tokens", counted)
    if not isinstance(counted, int):
        raise InputError(
            f"{public_url(base_url)} does not count tokens (`usage`), so prompts of a given length "
            "cannot be made for it; give prompts with --prompts"
        )
    return counted


def answer_logprobs(
    base_url: str, model: str, prompt: str, answer: str, *, timeout_s: float
) -> list[float]:
    """Return the log-probabilities of an answer's tokens after a prompt; nothing is generated.

    Args:
        base_url: root of the API with its version.
        model: the server's name of the model.
        prompt: with its template.
        answer: as the model gave it.
        timeout_s: how long to wait for the answer, in seconds.

    Raises:
        InputError: the server refuses the request, or gives no log-probabilities.
        EnvironmentFault: it does not answer.
    """
    body = {"model": model, "prompt": prompt + answer, "temperature": 0.0}
    body |= {"max_tokens": 0, "echo": True, "logprobs": 0}
    request = _request(base_url, "completions", body, None, {})
    data = _read(request, timeout_s, [prompt, answer])
    try:
        scores = json.loads(data)["choices"][0]["logprobs"]
        pairs = zip(scores["text_offset"], scores["token_logprobs"], strict=True)
        # A token that begins in the prompt is not the answer's.
        return [
            float(value) for offset, value in pairs if offset >= len(prompt) and value is not None
        ]
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{public_url(base_url)} gives no log-probabilities") from None


def _chunks(
    request: urllib.request.Request, timeout_s: float, private: Sequence[str]
) -> Iterator[Any]:
    """Yield the chunks of a streamed answer as they come.

    Args:
        request: what is sent.
        timeout_s: longest silence, in seconds.
        private: texts that an error must not quote.

    Raises:
        EnvironmentFault: the server stops within the answer, or reports an error in it.
    """
    parser = SseParser()
    with _open(request, timeout_s, private) as answer:
        try:
            while True:
                piece = answer.read1(_READ_BYTES)
                # What the body ends with may lack the empty line that completes it.
                for data, _ in parser.feed(piece) if piece else parser.end():
                    if data == b"[DONE]":
                        return
                    with suppress(ValueError):
                        yield json.loads(data)
                if not piece:
                    return
        except (OSError, HTTPException) as error:
            raise _broken_off(request, error) from None


def _part(chunk: Any, private: Sequence[str]) -> str:
    if (error := find_error(chunk)) is not None:
        message = without_quotes(error.message or error.kind or "unknown", private)
        raise EnvironmentFault(f"the server reports an error: {message}")
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


def _read(request: urllib.request.Request, timeout_s: float, private: Sequence[str] = ()) -> bytes:
    """Return the body of an answer; arguments and errors as those of `_chunks`."""
    with _open(request, timeout_s, private) as answer:
        try:
            return answer.read(_MOST_BYTES)
        except (OSError, HTTPException) as error:
            raise _broken_off(request, error) from None


def _broken_off(request: urllib.request.Request, error: Exception) -> EnvironmentFault:
    return EnvironmentFault(f"{public_url(request.full_url)}: the answer broke off: {error}")


def _open(
    request: urllib.request.Request, timeout_s: float, private: Sequence[str] = ()
) -> HTTPResponse:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    place = public_url(request.full_url)
    try:
        return cast("HTTPResponse", opener.open(request, timeout=timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            message = describe_bytes(error.read(_READ_BYTES)).message
        told = f": {harmless(without_quotes(message, private))}" if message else ""
        if error.code == HTTPStatus.NOT_FOUND and not message:
            told = "; give the root of an OpenAI-compatible API, such as http://127.0.0.1:8000/v1"
        raise InputError(f"{place} answers with status {error.code}{told}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise EnvironmentFault(
            f"{place} does not answer: {cause_of(reason)}; start the server, or correct the URL"
        ) from None
