"""Streams as servers really send them; the right reading of each is stated."""

import json

import pytest

from medsweep.loadgen.failures import advice_for
from medsweep.loadgen.spec import Prompt
from medsweep.loadgen.stream import Stream
from medsweep.metrics.request_record import RequestRecord

QUESTION = "Is Mr Okonkwo's glaucoma treated with timolol?"
TEXT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream"


async def read(
    *pieces: bytes, status: int = 200, content_type: str = SSE, **head: str
) -> RequestRecord:
    """The record of an answer that came in these reads, one second apart."""
    stream = Stream(0, "measure", Prompt("q", QUESTION), None, 0.0)
    stream.status, stream.content_type = status, content_type
    for name, value in head.items():
        setattr(stream, name, value)
    for second, piece in enumerate(pieces, start=1):
        stream.take(piece, float(second))
    stream.end(float(len(pieces)))
    return stream.record(None, float(len(pieces)), keep_text=True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (b'event: error\ndata: {"message": "out of memory"}\n\n', "out of memory"),
        (b"event: error\ndata: out of memory\n\n", "out of memory"),
        (b"event: error\n\n", "no type given"),
        (b"event:error\r\ndata:{}\r\n\r\n", "no type given"),
        (b'event: response.failed\ndata: {"error": {"code": "e7"}}\n\n', "e7"),
        (b'event: stream_error\ndata: {"detail": "worker died"}\n\n', "worker died"),
        (b": error: upstream timed out\n\n", "upstream timed out"),
        (b": Upstream error, try later\n", "Upstream error, try later"),
        (b': {"error": {"message": "no slot", "type": "busy"}}\n\n', "busy: no slot"),
        (b'error: {"code": 500, "message": "slot lost", "type": "server_error"}\n\n', "slot lost"),
        (b'error: {"message": "slot lost"}', "slot lost"),  # and the connection ends
        (b'data: {"object": "error", "message": "engine died", "type": "Dead"}\n\n', "engine died"),
        (b'data: {"type": "error", "error": {"message": "overloaded"}}\n\n', "overloaded"),
        (b'data: {"error": "died", "error_type": "generation"}\n\n', "generation: died"),
        (b'data: {"text": "NETWORK ERROR", "error_code": 50001}\n\n', "50001: NETWORK ERROR"),
        (b'data: {"detail": "worker died"}\n\n', "worker died"),
        (b'data: {"code": 503, "message": "no healthy upstream"}\n\n', "503: no healthy upstream"),
        (b'data: [{"error": {"message": "quota", "code": 429}}]\n\n', "429: quota"),
        (b"data: [ERROR] worker died\n\n", "worker died"),
        (b'{"error": {"message": "worker died"}}\n', "worker died"),  # no event at all
        (b'data: {"error": {"message": "cut"}}', "cut"),
        (b'data: {"error": {"message": "e"}, "choices": [{"finish_reason": "error"}]}\n\n', "e"),
        (b'data: {"choices": [{"error": {"message": "provider gone"}}]}\n\n', "provider gone"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "abort"}]}\n\n', "abort"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "ERROR"}]}\n\n', "ERROR"),
        (b'data: {"choices": [{"text": "", "finish_reason": "cancelled"}]}\n\n', "cancelled"),
    ],
)
@pytest.mark.parametrize("before", [b"", TEXT])
@pytest.mark.parametrize("after", [b"", DONE])
async def test_an_error_in_any_form_is_an_error(
    before: bytes, error: bytes, words: str, after: bytes
) -> None:
    if after and not error.endswith((b"\n\n", b"\n")):
        error += b"\n\n"
    record = await read(before + error + after)
    assert record.status == "server_error"
    assert words in (record.error or "")
    # Half of an answer is none, and what came is kept.
    assert record.text == ("a" if before else "")


@pytest.mark.parametrize("content_type", ["application/json", SSE, "", "text/plain"])
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"error": {"message": "no such task", "type": "bad"}}', "server_error", "no such task"),
        (b'{"object": "error", "message": "too long", "code": 400}', "server_error", "too long"),
        (
            b'\n {"detail": [{"loc": ["body", "n"], "msg": "too big"}]}',
            "server_error",
            "body.n: to",
        ),
        (b'[{"error": {"message": "quota"}}]', "server_error", "quota"),
        (b'{"choices": [{"message": {"content": "all at once"}}]}', "garbage", "not an event"),
        (b"{}", "garbage", "not an event stream"),
        (b'{"error": null}', "garbage", "not an event stream"),
        (b"[[[[" * 5000, "garbage", "not an event stream"),
        (b"<!doctype html><p>Log in", "html", "not an event stream"),
    ],
)
async def test_a_body_instead_of_a_stream(
    body: bytes, status: str, words: str, content_type: str
) -> None:
    for pieces in ([body], [body[:3], body[3:]]):
        record = await read(*pieces, content_type=content_type)
        assert record.status == status
        assert words in (record.error or "")


@pytest.mark.parametrize(
    "nothing",
    [
        b'data: {"choices": null}\n\n',
        b'data: {"id": "x", "object": "chat.completion.chunk"}\n\n',
        b'data: {"type": "ping"}\n\n',
        b"data: null\n\n",
        b"data: {}\n\n",
        b"data:\n\n",
        b"data: \n\n",
        b"event: ping\ndata: {}\n\n",
        b'data: {"choices": [], "error": null}\n\n',
        b'data: {"choices": [], "error": {}, "error_code": 0}\n\n',
        b": ping\n\n",
        b": 0 errors so far; no error\n\n",
        b": error=0\n\n",
        b": {}\n\n",
        b"\xef\xbb\xbfid: 7\nretry: 10\n\n",
    ],
)
async def test_events_that_say_nothing_are_skipped(nothing: bytes) -> None:
    record = await read(nothing, TEXT, nothing, STOP, nothing, DONE)
    assert (record.status, record.text, record.finish_reason) == ("ok", "a", "stop")
    assert record.first_text_s == 2.0


def chunk(delta: object, finish_reason: str | None = None, **fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **fields}


ROLE = {"role": "assistant", "content": ""}
REST = {"content": "Rest"}
COUNT = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
LAST = {"choices": [], "usage": COUNT}
STREAMS: dict[str, list[object]] = {
    # Findings of the content filter come first, and again without a delta.
    "azure": [
        {"choices": [], "prompt_filter_results": [{"content_filter_results": {"error": None}}]},
        chunk(ROLE, usage=None),
        chunk(REST, usage=None),
        {"choices": [{"index": 0, "content_filter_offsets": {"check_offset": 1}}]},
        chunk({}, "stop", usage=None),
        LAST,
    ],
    "openai": [
        chunk({**ROLE, "refusal": None}, usage=None, obfuscation="Xy"),
        chunk(REST, usage=None, obfuscation="q"),
        chunk({}, "stop", usage=None, obfuscation="Tz0"),
        {**LAST, "obfuscation": "a"},
    ],
    "llama.cpp": [
        chunk({"role": "assistant", "content": None}),
        chunk(REST),
        chunk({}, "stop"),
        {**LAST, "timings": {"prompt_n": 9, "predicted_n": 1}},
    ],
    "ollama": [chunk({**ROLE, **REST}), chunk(ROLE, "stop"), LAST],
    "tgi": [b":\n\n", chunk({**ROLE, **REST}, usage=None), b":\n\n", chunk(ROLE, "stop"), LAST],
    # Counts in every chunk: 0 with the role.
    "sglang": [
        chunk({**ROLE, "reasoning_content": None}, usage={**COUNT, "completion_tokens": 0}),
        chunk({"role": None, **REST}, usage=COUNT),
        chunk({"content": None}, "stop", usage=None),
        LAST,
    ],
}


@pytest.mark.parametrize("server", STREAMS)
async def test_a_stream_in_the_form_of_each_server(server: str) -> None:
    events = [
        each if isinstance(each, bytes) else b"data: %b\n\n" % json.dumps(each).encode()
        for each in STREAMS[server]
    ]
    record = await read(*events, DONE)
    assert (record.status, record.text, record.finish_reason) == ("ok", "Rest", "stop")
    assert (record.prompt_tokens, record.output_tokens, record.token_source) == (9, 1, "usage")
    # The role, an empty text, a filter's findings and a comment are no first token.
    first = next(second for second, each in enumerate(events, start=1) if b"Rest" in each)
    assert record.first_text_s == first


@pytest.mark.parametrize("choices", [b'"choices": null, ', b"", b'"choices": [], '])
async def test_usage_without_choices_is_read(choices: bytes) -> None:
    usage = b'data: {%b"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n' % choices
    record = await read(TEXT, STOP, usage, DONE)
    assert (record.prompt_tokens, record.output_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [(b"8.0", 8), (b"8e0", 8), (b"8", 8), (b"0", None), (b"0.0", None), (b"null", None)],
)
async def test_counts_as_servers_write_them(given: bytes, tokens: int | None) -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": %b}}\n\n' % given
    record = await read(TEXT, STOP, usage, DONE)
    assert (record.status, record.output_tokens) == ("ok", tokens)
    assert record.token_source == (None if tokens is None else "usage")


@pytest.mark.parametrize("given", [b"8.5", b'"8"', b"-1", b"true", b"NaN", b"[8]"])
async def test_counts_that_are_none(given: bytes) -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": %b}}\n\n' % given
    assert (await read(TEXT, STOP, usage, DONE)).status == "garbage"


async def test_a_count_that_is_filled_in_at_the_end_is_not_one_of_every_chunk() -> None:
    chunk = b'data: {"choices": [{"text": "a"}], "usage": {"completion_tokens": %d}}\n\n'
    record = await read(chunk % 0, chunk % 0, chunk % 3, DONE)
    assert (record.output_tokens, record.chunk_tokens) == (3, None)
    assert record.itl_s == (1.0, 1.0)


async def test_no_text_and_a_count_of_0_is_a_count() -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}\n\n'
    assert (await read(STOP, usage, DONE)).output_tokens == 0


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type": "content_block_delta", "delta": {"text": "hi"}}\n\n',
        b'data: {"token": {"text": "hi"}}\n\n',
        b'data: {"type": "ping"}\n\n',
    ],
)
@pytest.mark.parametrize("end", [DONE, b""])
async def test_a_stream_of_another_protocol_is_garbage_and_no_empty_answer(
    event: bytes, end: bytes
) -> None:
    record = await read(event, end)
    assert record.status == "garbage"
    assert "completion chunk" in (record.error or "")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream", SSE])
async def test_the_body_says_what_it_is(content_type: str) -> None:
    for pieces in ([TEXT + DONE], [TEXT[:2], TEXT[2:], DONE], [b"\r\n" + TEXT, DONE]):
        record = await read(*pieces, content_type=content_type)
        assert (record.status, record.text) == ("ok", "a")


async def test_a_compressed_answer_is_told_as_that() -> None:
    record = await read(b"\x1f\x8b\x08\x00...", content_encoding="gzip")
    assert (record.status, record.text) == ("compressed", "")
    assert "gzip" in (record.error or "")
    assert "compression" in (advice_for("compressed") or "")
    assert (await read(TEXT, DONE, content_encoding="")).status == "ok"


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirection_is_told_with_its_target(status: int) -> None:
    where = "https://user:pass@api.example/v1/chat?key=secret"
    record = await read(b"<html>", status=status, reason="Moved", location=where)
    assert record.status == f"http_{status}"
    assert record.error == "Moved, to https://api.example/v1/chat"
    assert "redirects" in (advice_for(record.status) or "")


async def test_invalid_utf8_is_replaced_as_the_standard_says() -> None:
    event = b'data: {"choices": [{"text": "a\xff\xe2\x82b"}]}\n\n'
    record = await read(event, DONE)
    assert (record.status, record.text) == ("ok", "a\ufffd\ufffdb")


async def test_all_chunks_in_one_read_have_no_time_between_them() -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\n'
    record = await read(TEXT + TEXT + TEXT + usage + DONE)
    assert (record.status, record.ttft_s, record.output_tokens) == ("ok", 1.0, 3)
    assert (record.tpot_s, record.itl_s, record.came_at_once) == (None, (), True)
    record = await read(TEXT, TEXT + TEXT + usage + DONE)
    assert (record.tpot_s, record.itl_s, record.came_at_once) == (0.5, (1.0, 0.0), False)


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n"])
async def test_the_last_empty_line_is_not_needed(end: bytes) -> None:
    record = await read(TEXT, end)
    assert (record.status, record.text) == ("ok", "a")


async def test_an_event_cut_in_half_is_none() -> None:
    for at in range(len(TEXT) - 1):
        record = await read(TEXT, TEXT[:at])
        whole = at >= len(TEXT.rstrip())
        assert (record.status, record.text) == ("closed_early", "aa" if whole else "a")


async def test_content_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "yes"}]
    event = json.dumps({"choices": [{"delta": {"content": parts}}]}).encode()
    record = await read(b"data: " + event + b"\n\n", DONE)
    assert (record.status, record.text) == ("ok", "yes")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            {"error": {"message": "This model's maximum context length is 2048 tokens."}},
            "Bad Request: This model's maximum context length is 2048 tokens.",
        ),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "not an integer", "input": QUESTION}]},
            "Bad Request: body.seed: not an integer",
        ),
        (
            {"message": f"cannot tokenize {QUESTION!r} at 7"},
            'Bad Request: cannot tokenize "Is …?" at 7',
        ),
        ({"error": "MR OKONKWO is a person"}, "Bad Request: … a person"),
        ({"error": "input ends in 'Mr Okon"}, "Bad Request: input ends in '…"),
        ({"error": {}}, "Bad Request"),
    ],
)
async def test_the_servers_reason_is_told_without_the_prompt(body: object, told: str) -> None:
    data = json.dumps(body).encode()
    record = await read(data, status=400, reason="Bad Request", content_type="application/json")
    assert (record.status, record.error) == ("http_400", told)


async def test_a_web_page_of_a_proxy_is_not_told() -> None:
    record = await read(b"<html>secret</html>", status=502, reason="Bad Gateway")
    assert (record.status, record.error) == ("http_502", "Bad Gateway")


async def test_a_message_without_spaces_between_words_is_compared_by_character() -> None:
    stream = Stream(0, "measure", Prompt("q", "王医生今天来吗"), None, 0.0)
    stream.status, stream.reason = 400, "Bad Request"
    stream.take('{"error": "无法处理:王医生今天"}'.encode(), 1.0)
    assert stream.record(None, 1.0, keep_text=False).error == "Bad Request: 无法处理:…"
