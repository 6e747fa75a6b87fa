import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

SECRET = "patient-7731-has-gout"
MESSAGES: Any = [{"role": "user", "content": SECRET}]


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture
def sdk(url: str) -> Any:
    """OpenAI's own client; give it the name of a cell."""
    import openai  # it takes long, and only one worker needs it

    return lambda cell: openai.OpenAI(base_url=f"{url}/{cell}/v1", api_key="none", max_retries=0)


async def ask(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    body = {"model": "good", "messages": MESSAGES, "max_tokens": 5} | fields
    return await client.post("/cell/v1/chat/completions", json=body)


def events(response: httpx.Response) -> list[Any]:
    """The events of a stream; the last one as it is."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_health_and_models(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
    names = [entry["id"] for entry in (await client.get("/cell/v1/models")).json()["data"]]
    assert names[0] == "good"


async def test_the_engine_gets_what_was_asked(client: httpx.AsyncClient, scripted: Any) -> None:
    response = await ask(client, temperature=0, stop=["\n"], max_tokens=17)
    assert response.status_code == 200
    [generation] = scripted.asked
    assert generation.messages == tuple(MESSAGES)
    assert (generation.max_tokens, generation.temperature, generation.stop) == (17, 0.0, ("\n",))


async def test_a_stream_ends_with_done_and_its_usage(client: httpx.AsyncClient) -> None:
    response = await ask(client, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    role, *middle, usage, done = events(response)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["delta"]["content"] for event in middle] == ["One", "", " two"]
    assert middle[-1]["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 3)
    assert done == "[DONE]"


async def test_counts_with_every_event(client: httpx.AsyncClient) -> None:
    response = await ask(client, stream=True, stream_options={"continuous_usage_stats": True})
    _, *middle, done = events(response)
    assert [event["usage"]["completion_tokens"] for event in middle] == [1, 2, 3]
    assert done == "[DONE]"


async def test_an_unknown_model_is_404_with_the_known_ones(client: httpx.AsyncClient) -> None:
    response = await ask(client, model="goood")
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == "model_not_found"
    assert "did you mean 'good'?" in error["message"]
    assert "known: breaks-first, breaks-later, endless, good, refuses, waits" in error["message"]


async def test_an_unknown_cell_is_404_with_the_known_ones(client: httpx.AsyncClient) -> None:
    response = await client.get("/sell/v1/models")
    assert response.status_code == 404
    assert "known: cell, null-cell" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"logprobs": SECRET}, "logprobs: "),
        ({"max_tokens": SECRET}, "max_tokens: "),
        ({"messages": SECRET}, "messages: "),
        ({"messages": [{"role": SECRET, "content": SECRET}]}, "messages.0.role: "),
        ({"messages": [{"role": "user", "content": [SECRET]}]}, "messages.0.content."),
        ({"stream_options": {"usage": SECRET}}, "stream_options.usage: "),
        ({"temperature": 3, "n": 2}, "temperature: "),
    ],
)
async def test_a_wrong_field_is_400_by_name_and_without_text(
    client: httpx.AsyncClient, scripted: Any, fields: dict[str, Any], named: str
) -> None:
    response = await ask(client, **fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert named in error["message"]
    assert SECRET not in response.text
    assert scripted.asked == []


async def test_all_wrong_fields_at_once(client: httpx.AsyncClient) -> None:
    message = (await ask(client, n=2, tools=[{"type": "function"}])).json()["error"]["message"]
    assert "n: " in message
    assert "tools: " in message


async def test_a_body_that_is_no_json(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/cell/v1/chat/completions",
        content=f'{{"messages": "{SECRET}',
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert SECRET not in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_prompt_keeps_its_status_even_for_a_stream(
    client: httpx.AsyncClient, stream: bool
) -> None:
    response = await ask(client, model="refuses", stream=stream)
    assert response.status_code == 400
    assert "together they may be 8" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "stream"), [("breaks-first", False), ("breaks-first", True), ("breaks-later", False)]
)
async def test_a_failing_engine_is_500_without_text(
    client: httpx.AsyncClient, model: str, stream: bool
) -> None:
    response = await ask(client, model=model, stream=stream)
    assert response.status_code == 500
    assert response.json()["error"] == {
        "message": "generation failed: RuntimeError",
        "type": "server_error",
        "param": None,
        "code": None,
    }


async def test_a_stream_that_fails_says_so_and_is_not_done(client: httpx.AsyncClient) -> None:
    response = await ask(
        client, model="breaks-later", stream=True, stream_options={"include_usage": True}
    )
    assert response.status_code == 200
    *before, last = events(response)
    assert before[-1]["choices"][0]["delta"] == {"content": "One"}
    assert last["error"]["message"] == "generation failed: RuntimeError"
    assert "[DONE]" not in response.text
    assert SECRET not in response.text


def test_openai_s_client_chats(sdk: Any) -> None:
    answer = sdk("cell").chat.completions.create(model="good", messages=MESSAGES)
    assert answer.choices[0].message.content == "One two"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 3)


def test_openai_s_client_streams_a_chat(sdk: Any) -> None:
    chunks = list(
        sdk("null-cell").chat.completions.create(
            model="null",
            messages=MESSAGES,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content for chunk in chunks[:-1])
    assert text == "null " * 5
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 5
    assert len(chunks) == 7  # the role, five tokens, the usage


@pytest.mark.parametrize("stream", [False, True])
def test_openai_s_client_completes(sdk: Any, stream: bool) -> None:
    answer = sdk("null-cell").completions.create(
        model="null", prompt="Why", max_tokens=3, stream=stream
    )
    chunks = list(answer) if stream else [answer]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "null null null "
    assert chunks[-1].choices[0].finish_reason == "length"


def test_openai_s_client_lists_models(sdk: Any) -> None:
    assert [model.id for model in sdk("null-cell").models.list()] == ["null"]


def test_openai_s_client_understands_our_errors(sdk: Any) -> None:
    import openai

    cell = sdk("cell")
    with pytest.raises(openai.NotFoundError, match="unknown model 'other'") as missing:
        cell.chat.completions.create(model="other", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="logprobs: ") as refused:
        cell.chat.completions.create(model="good", messages=MESSAGES, logprobs=True)
    assert SECRET not in str(refused.value)
    with pytest.raises(openai.APIError, match="generation failed: RuntimeError"):
        list(cell.chat.completions.create(model="breaks-later", messages=MESSAGES, stream=True))


def test_a_client_that_goes_closes_the_engine_s_stream(sdk: Any, scripted: Any) -> None:
    stream = sdk("cell").chat.completions.create(model="endless", messages=MESSAGES, stream=True)
    for chunk in stream:
        if "more" in (chunk.choices[0].delta.content or ""):
            break
    assert not scripted.closed.is_set()
    stream.close()
    assert scripted.closed.wait(30)
