import asyncio
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from medsweep.errors import InputError
from medsweep.serving.middleware import DISCARD_FACTOR, read_key, require_key

KEY = "a-key-of-the-clinic"
CHAT = "/v1/chat/completions"
SECRET = "patient-7731-has-gout"


@pytest.fixture
def client(serve_app: Callable[..., Any]) -> Callable[..., httpx.AsyncClient]:
    """Opens a client of an application with the limits given."""

    def opened(**arguments: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(serve_app(**arguments))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    return opened


def chat(text: str = SECRET) -> dict[str, Any]:
    return {"model": "good", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer  {KEY} ", 200),
        ("Bearer wrong", 401),
        (f"Bearer {KEY}x", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        ("Bearer", 401),
        (None, 401),
    ],
)
async def test_the_key(client: Any, header: str | None, status: int) -> None:
    headers = {} if header is None else {"authorization": header}
    async with client(key=KEY) as opened:
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            response = await opened.get(path, headers=headers)
            assert response.status_code == status, path
        response = await opened.post(CHAT, json=chat(), headers=headers)
        assert response.status_code == status
        if status == 401:
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
        assert (await opened.get("/health")).status_code == 200


async def test_a_key_that_is_no_ascii(client: Any) -> None:
    async with client(key="schlüssel") as opened:
        wrong = await opened.get("/v1/models", headers={"authorization": b"Bearer \xff\xfe"})
        right = await opened.get(
            "/v1/models", headers={"authorization": "Bearer schlüssel".encode()}
        )
    assert (wrong.status_code, right.status_code) == (401, 200)


def test_where_the_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSWEEP_API_KEY", raising=False)
    assert read_key(None) is None
    monkeypatch.setenv("MEDSWEEP_API_KEY", " from-env ")
    assert read_key(None) == "from-env"
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert read_key(file) == KEY
    file.write_text("\n")
    with pytest.raises(InputError, match="the API key is empty"):
        read_key(file)
    with pytest.raises(InputError, match="--api-key-file"):
        read_key(tmp_path / "none")


def test_beyond_loopback_a_key_is_needed() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        require_key(host, None)
    require_key("0.0.0.0", KEY)
    with pytest.raises(InputError, match="MEDSWEEP_API_KEY"):
        require_key("0.0.0.0", None)


@pytest.mark.parametrize("size", [2001, 2000 * DISCARD_FACTOR, 2000 * DISCARD_FACTOR + 9])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_long_body_is_413(client: Any, size: int, announced: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, size, 500):
            yield b"x" * min(500, size - at)

    content = b"x" * size if announced else parts()
    async with client(max_body_bytes=2000) as opened:
        response = await opened.post(CHAT, content=content)
    assert response.status_code == 413
    assert response.json()["error"]["message"] == "the body may have at most 2000 bytes"
    assert response.headers["connection"] == "close"


async def test_a_body_of_the_limit_is_taken(client: Any, scripted: Any) -> None:
    async with client(max_body_bytes=2000) as opened:
        text = "x" * (2000 - len(httpx.Request("POST", "http://h", json=chat("")).content))
        assert (await opened.post(CHAT, json=chat(text))).status_code == 200
        assert (await opened.post(CHAT, json=chat(text + "x"))).status_code == 413
    assert len(scripted.asked) == 1


def test_ten_thousand_headers_are_431(
    serve_app: Callable[..., Any], behind_http: Callable[..., Any]
) -> None:
    with behind_http(serve_app()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as many:
            headers = "".join(f"x-{number}: 1\r\n" for number in range(10_000))
            many.sendall(f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode())
            assert many.makefile("rb").read().startswith(b"HTTP/1.1 431 ")
        assert httpx.get(f"{url}/v1/models", timeout=60).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"model": "good", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"model": "good", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "good", "messages": [{"role": "user", "content": "a"}], "seed": NaN}',
        b'{"model": "good", "messages": [{"role": "user", "content": "a"}], "max_tokens": -1}',
        b'{"model": "good", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1e400}',
        b'{"model": "good", "messages": ' + b"[" * 100_000,
        b'{"model": ["good"], "messages": {"role": "user"}}',
        b"\x00" * 100,
    ],
)
async def test_bodies_that_are_no_request_are_400(client: Any, scripted: Any, body: bytes) -> None:
    async with client() as opened:
        response = await opened.post(
            CHAT, content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"
        assert scripted.asked == []
        assert (await opened.post(CHAT, json=chat())).status_code == 200


async def test_bodies_are_parsed_by_the_fast_parser(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """json takes ten times as long for numbers, and all other requests wait for it."""
    body = json.dumps(chat()).encode()
    monkeypatch.setattr("starlette.requests.json", None)
    async with client() as opened:
        response = await opened.post(
            CHAT, content=body, headers={"content-type": "application/json"}
        )
    assert response.status_code == 200


async def test_other_routes_and_methods_answer_in_openai_s_shape(client: Any) -> None:
    async with client() as opened:
        missing = await opened.get("/v1/nothing")
        method = await opened.get(CHAT)
        media = await opened.post(CHAT, content=b"a=b", headers={"content-type": "text/plain"})
    assert (missing.status_code, method.status_code, media.status_code) == (404, 405, 400)
    assert method.headers["allow"] == "POST"
    assert "without the header `content-type: application/json`" in media.text
    for response in (missing, method, media):
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_fault_of_our_own_is_500_and_its_text_goes_nowhere(
    client: Any, scripted: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> list[str]:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(scripted, "models", fail)
    with caplog.at_level(logging.DEBUG):
        async with client() as opened:
            response = await opened.get("/v1/models")
    assert response.status_code == 500
    assert SECRET not in response.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_a_body_that_trickles_in_is_408(
    serve_app: Callable[..., Any], behind_http: Callable[..., Any]
) -> None:
    with behind_http(serve_app(body_timeout_s=1.5)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            slow.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{{".encode()
            )
            answer = slow.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body did not arrive within 1.5 s" in answer
        assert httpx.post(f"{url}{CHAT}", json=chat(), timeout=60).status_code == 200


def test_a_client_that_goes_in_its_body_is_counted_and_forgotten(
    serve_app: Callable[..., Any], behind_http: Callable[..., Any]
) -> None:
    with behind_http(serve_app()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as going:
            going.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            going.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{{".encode()
            )
        wanted = 'medsweep_server_requests_total{model="",outcome="cancelled"} 1.0'
        while wanted not in httpx.get(f"{url}/metrics", timeout=60).text:
            pass


async def test_no_text_of_a_request_is_logged(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bodies = [
        chat(),
        {**chat(), "model": "breaks-first"},
        {**chat(), "model": "breaks-later", "stream": True},
        {**chat(), "model": "refuses"},
        {**chat(), "temperature": SECRET},
        {**chat(), "tools": [SECRET]},
        SECRET,
    ]
    with caplog.at_level(logging.DEBUG):
        async with client() as opened:
            answers = [await opened.post(CHAT, json=body) for body in bodies]
            answers.append(await opened.post(CHAT, content=f'{{"a": "{SECRET}'))
            answers.append(await opened.post(CHAT, content=SECRET.encode() + b"\xff"))
    logged = [record.getMessage() for record in caplog.records if record.name != "httpx"]
    assert sum("generation failed" in message for message in logged) == 2
    assert SECRET not in caplog.text
    assert SECRET not in "".join(answer.text for answer in answers)
    assert [answer.status_code for answer in answers] == [
        200,
        500,
        200,
        400,
        400,
        400,
        400,
        400,
        400,
    ]


async def test_requests_at_one_time_do_not_mix(client: Any, scripted: Any) -> None:
    async with client(max_concurrent=3) as opened:
        answers = await asyncio.gather(
            *(opened.post(CHAT, json={**chat(str(n)), "max_tokens": n}) for n in range(1, 21))
        )
    assert all(answer.status_code == 200 for answer in answers)
    assert sorted(asked.max_tokens for asked in scripted.asked) == list(range(1, 21))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000", "origin": "http://localhost:3000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "localhost@evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_without_a_key_a_foreign_page_is_refused(
    client: Any, scripted: Any, headers: dict[str, str], status: int
) -> None:
    """The attack: a web page whose name resolves to 127.0.0.1, or that posts across sites."""
    async with client() as opened:
        response = await opened.post(CHAT, json=chat(), headers=headers)
    assert response.status_code == status
    assert len(scripted.asked) == (status == 200)


async def test_with_a_key_any_name_may_be_served(client: Any) -> None:
    headers = {"host": "clinic.example", "authorization": f"Bearer {KEY}"}
    async with client(key=KEY) as opened:
        assert (await opened.post(CHAT, json=chat(), headers=headers)).status_code == 200


async def test_two_authorization_headers_are_400(client: Any, scripted: Any) -> None:
    """The attack: a proxy checks one of them and the server the other."""
    for keys in ((KEY, "wrong"), ("wrong", KEY), (KEY, KEY)):
        headers = [("authorization", f"Bearer {key}") for key in keys]
        async with client(key=KEY) as opened:
            response = await opened.post(CHAT, json=chat(), headers=headers)
        assert (response.status_code, scripted.asked) == (400, [])


def test_a_key_that_can_be_guessed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    require_key("127.0.0.1", "short")
    require_key("0.0.0.0", "x" * 16)
    with pytest.raises(InputError, match="has 15 characters.* at least 16"):
        require_key("0.0.0.0", "x" * 15)
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n{KEY}\n")
    with pytest.raises(InputError, match="several lines"):
        read_key(file)
    file.write_text(KEY)
    file.chmod(0o600)
    caplog.clear()
    assert read_key(file) == KEY
    assert not caplog.records
    file.chmod(0o644)
    read_key(file)
    assert "other users can read the API key" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "fields",
    [
        {f"{'x' * 100}{number}": 0 for number in range(5000)},
        {"x" * 500_000: 0},
        {"messages": [{"role": "user"}] * 50_000},
        {"messages": [{"role": "user", "content": [{"type": "image"}] * 50_000}]},
        {"stop": [1] * 100_000},
        {"model": "m" * 900_000},
        {f"{number}-{'x' * 100}": 0 for number in range(40)},
    ],
    ids=["many fields", "long name", "messages", "parts", "stop", "model", "many faults"],
)
async def test_a_body_of_many_faults_is_answered_briefly(
    client: Any, fields: dict[str, Any]
) -> None:
    """The attack: an error for each of 100,000 fields, which stalls everybody."""
    async with client() as opened:
        response = await opened.post(CHAT, json={**chat(), **fields})
    message = response.json()["error"]["message"]
    assert response.status_code == 400
    assert len(response.content) < 2000
    assert message.count(";") <= 2 * 10
