import pytest

from medsweep.loadgen.sse import SseParser

STREAM = (
    b": connected\n\n"
    b'data: {"a": 1}\n\n'
    b"event: message\r\nid: 3\r\ndata:no space\r\n\r\n"
    b": keep-alive\r\n\r\n"
    b"data: first line\ndata: second line\n\n"
    b"data: carriage\r\r"
    b"data\n\n"
    b"retry: 10\n\n\n\n"
    b"data: \xc3\xa4  two spaces\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    b'{"a": 1}',
    b"no space",
    b"first line\nsecond line",
    b"carriage",
    b"",
    b"\xc3\xa4  two spaces",
    b"[DONE]",
]


def parse(*chunks: bytes) -> list[bytes]:
    parser = SseParser()
    return [data for chunk in chunks for data, _ in parser.feed(chunk)]


def test_whole() -> None:
    assert parse(STREAM) == EVENTS


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_split_at_every_byte(newline: bytes) -> None:
    stream = STREAM.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", newline)
    for at in range(len(stream) + 1):
        assert parse(stream[:at], b"", stream[at:]) == EVENTS, at


def test_byte_by_byte() -> None:
    assert parse(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == EVENTS


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_event_is_out_with_the_last_byte_it_needs(newline: bytes) -> None:
    parser = SseParser()
    assert parser.feed(b"data: now" + newline) == []
    assert parser.feed(newline[:1]) == [(b"now", "message")]


def test_unfinished_event_is_not_an_event() -> None:
    assert parse(b"data: cut off\n") == []


@pytest.mark.parametrize("before", [b"data: a\n", b"data: a\r", b"dat", b": comment\n"])
@pytest.mark.parametrize("piece", [b"data: b\n\n", b"data: b\r\n\n", b"data: b\nid: 1\n\n"])
def test_a_piece_of_one_event_after_half_of_another(before: bytes, piece: bytes) -> None:
    """Pieces that look whole are not split into lines; that must change nothing."""
    at_once = parse(before + piece)
    assert parse(before, piece) == at_once
    assert at_once == parse(*((before + piece)[at : at + 1] for at in range(len(before + piece))))
