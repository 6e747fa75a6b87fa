"""Plain questions to a server: its models, and one streamed answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medsweep.errors import EnvironmentFault, InputError
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.loadgen.server import answer_logprobs, chat, find_model, stream_answer


@contextmanager
def answering(status: int, body: bytes, *headers: tuple[str, str]) -> Iterator[tuple[str, list]]:
    """A server that gives every request one answer, and what it was sent."""
    seen: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, dict(self.headers)))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def models(*names: str) -> bytes:
    return json.dumps({"data": [{"id": name} for name in names]}).encode()


def test_the_one_model_is_found_and_the_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "sk-1")
    with answering(200, models("med-8b")) as (url, seen):
        assert find_model(url, api_key_env="THE_KEY", headers={"X-Team": "a"}) == "med-8b"
        assert find_model(f"{url}/chat/completions") == "med-8b"
    path, headers = seen[0]
    assert path == "/v1/models"
    assert headers["Authorization"] == "Bearer sk-1"
    assert headers["X-Team"] == "a"
    assert "Authorization" not in seen[1][1]


def test_user_and_password_of_the_address_are_sent_and_never_shown() -> None:
    with answering(401, b'{"error": {"message": "who are you"}}') as (url, seen):
        with pytest.raises(InputError, match="status 401: who are you") as raised:
            find_model(url.replace("//", "//me:secret@"))
        assert seen[0][1]["Authorization"].startswith("Basic ")
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, models("a", "b\n"), r"has 2 models; name one with --model: a, b\\n$"),
        (200, models(), "has 0 models"),
        (200, b"<html>", "lists no models; name the model with --model"),
        (200, b'{"data": [{}]}', "lists no models"),
        (404, b"{}", "status 404; give the root of an OpenAI-compatible API"),
    ],
)
def test_a_server_without_one_model_is_a_mistake(status: int, body: bytes, told: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(InputError, match=told):
        find_model(url)


def test_an_answer_that_breaks_off_is_a_fault_of_the_machine() -> None:
    in_chunks = ("Transfer-Encoding", "chunked")
    with (
        answering(200, b'ff\r\n{"data": [', in_chunks) as (url, _),
        pytest.raises(EnvironmentFault, match="/v1/models: the answer broke off"),
    ):
        find_model(url)


def test_a_redirect_is_not_followed_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "sk-1")
    with (
        answering(200, models("m")) as (other, seen),
        answering(302, b"", ("Location", f"{other}/models")) as (url, _),
        pytest.raises(InputError, match="status 302"),
    ):
        find_model(url, api_key_env="THE_KEY")
    assert seen == []


def test_nothing_there_is_a_fault_of_the_machine() -> None:
    with answering(200, b"") as (url, _):
        pass
    with pytest.raises(EnvironmentFault, match="answer: Connection refused; start the server"):
        find_model(url, timeout_s=5)


ASKED = [{"role": "user", "content": "What is asthma?"}]


async def test_an_answer_comes_in_parts() -> None:
    async with running_mock(MockTiming(ttft_s=0.01, gap_s=0.001, tokens=5)) as server:
        parts = await asyncio.to_thread(
            lambda: list(stream_answer(server.base_url, "m", ASKED, max_tokens=5))
        )
    assert len([part for part in parts if part]) == 5
    [body] = server.requests
    assert body["messages"] == ASKED
    assert body["stream"] is True


def test_an_error_within_the_stream_is_told() -> None:
    event = b'data: {"error": {"message": "out of memory"}}\n\n'
    with (
        answering(200, event, ("Content-Type", "text/event-stream")) as (url, _),
        pytest.raises(EnvironmentFault, match="reports an error: out of memory"),
    ):
        list(stream_answer(url, "m", ASKED, max_tokens=5))


async def test_an_answer_comes_with_its_token_counts() -> None:
    def speak(body: dict[str, object]) -> str:
        return f"at {body['temperature']} with {body['seed']}"

    messages = [{"role": "user", "content": "What is asthma?"}]
    async with running_mock(MockTiming(), speak=speak) as server:
        url = server.base_url
        reply = await asyncio.to_thread(
            chat, url, "m", messages, max_tokens=8, temperature=0.5, seed=3
        )
        [body] = server.requests
    assert reply.text == "at 0.5 with 3"
    assert (reply.prompt_tokens, reply.output_tokens) == (PROMPT_TOKENS, 4)
    assert (body["max_tokens"], body["messages"]) == (8, messages)
    async with running_mock(MockTiming(ttft_s=0.0, usage=False)) as server:
        reply = await asyncio.to_thread(chat, server.base_url, "m", messages, max_tokens=8)
    assert (reply.prompt_tokens, reply.output_tokens) == (None, None)


def test_errors_quote_no_message_and_the_key_comes_from_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    quoted = b'{"error": {"message": "too long: Mrs Miller has syphilis"}}'
    messages = [{"role": "user", "content": "Mrs Miller has syphilis"}]
    for status, told in ((400, "status 400: too long"), (200, "reports an error: too long")):
        with answering(status, quoted) as (url, seen):
            with pytest.raises((InputError, EnvironmentFault), match=told) as error:
                chat(url, "m", messages, max_tokens=8, api_key_env="JUDGE_KEY")
            [(_, headers)] = seen
        assert headers["Authorization"] == "Bearer sk-secret"
        assert not [word for word in ("Miller", "syphilis", "secret") if word in str(error.value)]


def test_log_probabilities_are_those_of_the_answer_alone() -> None:
    scores = {
        "tokens": ["Q", ": yes", " it", " is"],
        "token_logprobs": [None, -1.0, -0.5, 0.0],
        "text_offset": [0, 1, 6, 9],
    }
    body = json.dumps({"choices": [{"text": "Q: yes it is", "logprobs": scores}]}).encode()
    with answering(200, body) as (url, seen):
        # The answer begins inside the second token, which is not its own.
        assert answer_logprobs(url, "m", "Q: ", "yes it is", timeout_s=9) == [-0.5, 0.0]
        assert seen[0][0] == "/v1/completions"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b'{"choices": [{"text": "x", "logprobs": null}]}', "gives no log-probabilities"),
        (400, b'{"error": {"message": "no echo here"}}', "status 400: no echo here"),
    ],
)
def test_a_server_without_log_probabilities(status: int, body: bytes, told: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(InputError, match=told):
        answer_logprobs(url, "m", "Q", "A", timeout_s=9)
