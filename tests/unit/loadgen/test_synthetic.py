"""Prompts of given lengths, checked against a server whose way of counting is known."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import fmean, pstdev

import pytest

from medsweep.cli import main
from medsweep.errors import InputError
from medsweep.loadgen.spec import Prompt
from medsweep.loadgen.synthetic import LengthCheck, Lengths, Tokens, make_prompts

TEMPLATE, PER_WORD = 11, 1.5


def counted(text: str) -> int:
    """How the server of these tests counts: 11 tokens of template, and three for two words."""
    return TEMPLATE + int(PER_WORD * len(text.split()))


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A server that counts so, and answers with as many tokens as it may."""
    bodies: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(json.dumps({"data": [{"id": "only"}]}).encode(), "application/json")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            tokens = body["max_tokens"]
            usage = {
                "prompt_tokens": counted(body["messages"][0]["content"]),
                "completion_tokens": tokens,
            }
            events = [{"choices": [{"delta": {"content": "a "}}]} for _ in range(tokens)]
            last = {"choices": [], "usage": usage}
            lines = [f"data: {json.dumps(each)}\n\n" for each in (*events, last)]
            self._answer("".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")

        def _answer(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", bodies
    finally:
        http.shutdown()
        http.server_close()


def test_lengths_are_read() -> None:
    assert Lengths.parse("--x", "512") == Lengths(512, 512)
    assert Lengths.parse("--x", "128..1024") == Lengths(128, 1024, "uniform")
    assert Lengths.parse("--x", "128..1024:normal") == Lengths(128, 1024, "normal")
    for wrong in ("", "0", "a", "5..4", "1..2:poisson", "-3", "99999999"):
        with pytest.raises(InputError, match="--x"):
            Lengths.parse("--x", wrong)


def test_lengths_are_distributed_as_said() -> None:
    rng = random.Random(5)
    uniform = [Lengths(100, 300).draw(rng) for _ in range(4000)]
    assert (min(uniform), max(uniform)) == (100, 300)
    # Of a uniform distribution over 201 integers: sqrt((201² - 1) / 12).
    assert pstdev(uniform) == pytest.approx(58.0, rel=0.05)
    normal = [Lengths(100, 300, "normal").draw(rng) for _ in range(4000)]
    assert all(100 <= each <= 300 for each in normal)
    assert fmean(normal) == pytest.approx(200, abs=3)
    # A sixth of the range, less what the cut at three deviations takes.
    assert pstdev(normal) == pytest.approx(200 / 6, rel=0.06)


def test_prompts_have_the_lengths_that_the_server_counts() -> None:
    tokens = Tokens.measure(counted, 0)
    assert (tokens.template, tokens.per_word) == (TEMPLATE, PER_WORD)
    prompts = make_prompts(tokens, Lengths(64, 512), Lengths(8, 16), count=200, seed=3)
    assert len({prompt.text.split()[0] for prompt in prompts}) > 50, "no common prefix"
    assert len({prompt.text for prompt in prompts}) == 200
    for prompt in prompts:
        wanted = int(prompt.question_id.rpartition("-")[2])
        assert abs(counted(prompt.text) - wanted) <= 1
        assert 8 <= (prompt.max_tokens or 0) <= 16
    assert prompts == make_prompts(tokens, Lengths(64, 512), Lengths(8, 16), count=200, seed=3)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(InputError, match="template alone takes 11 tokens; ask for at least 12"):
        Tokens(11.0, 1.5).words(5)
    with pytest.raises(InputError, match="counts 7 tokens for 16 words and 7 for 272"):
        Tokens.measure(lambda text: 7, 0)


def test_lengths_that_did_not_come_out_are_said() -> None:
    check = LengthCheck()
    check.add(Prompt("synthetic-0-512", "x"), 512, 128, 40)
    check.add(Prompt("synthetic-1-512", "x"), 511, 128, 60)
    prompts, answers = check.sentences()
    assert prompts == "prompts: 512 tokens asked, 511.5 counted by the server (511 to 512)"
    assert answers == (
        "answers: 128 tokens asked, 50.0 counted by the server (40 to 60); not as asked: the model "
        "ends its answers earlier"
    )
    silent = LengthCheck()
    silent.add(Prompt("synthetic-0-512", "x"), None, 128, None)
    assert "lengths are not known" in silent.sentences()[0]
    assert silent.figures()["input_tokens_counted"] is None


@pytest.mark.slow
def test_a_load_test_makes_its_prompts_and_checks_them(
    server: tuple[str, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, bodies = server
    words = ["bench", url, "--input-tokens", "64..128", "--output-tokens", "6"]
    assert main([*words, "--concurrency", "2", "--requests", "16", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["model"] == "only", "found by itself"
    lengths = result["lengths"]
    assert lengths["output_tokens_asked"] == lengths["output_tokens_counted"] == 6
    assert 64 <= lengths["input_tokens_counted"] <= 128
    assert lengths["input_tokens_counted"] == pytest.approx(lengths["input_tokens_asked"], abs=1)
    assert "answers: 6 tokens asked, 6.0 counted by the server (6 to 6)\n" in err
    loads = [body for body in bodies if body["max_tokens"] == 6]
    assert len(loads) >= 16
    assert all(body["ignore_eos"] is True for body in loads)
