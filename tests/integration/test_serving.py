"""`medsweep serve` as a user runs it: a process of its own, and what ends it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import psutil
import pytest

from medsweep.datasets.load import embedded_answers
from medsweep.loadgen.server import answer_logprobs
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES, conversation
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines.environment import environment_of
from medsweep.serving.engines.vllm import CHILD
from support import serving, skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECRET = "patient-7731-has-gout"
LONG = 20_000  # more than a connection holds that nobody reads: about 4 MB, in chunks of 250 bytes
AT_ONCE = threading.Event()
AT_ONCE.set()


def streamed(
    url: str, begun: threading.Semaphore, tokens: int = LONG, go_on: threading.Event = AT_ONCE
) -> tuple[int, str | None]:
    """Stream an answer of so many tokens; how many came, and why it ended.

    After its first token nothing is read until `go_on` is set, so the answer cannot end before.
    """
    # What the system keeps for a client that does not read is bounded.
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)]
    client = httpx.Client(transport=httpx.HTTPTransport(socket_options=options), timeout=100)
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="key", max_retries=0, http_client=client
    ) as sdk:
        stream = sdk.completions.create(model="null", prompt=SECRET, max_tokens=tokens, stream=True)
        pieces, reason = 0, None
        for chunk in stream:
            pieces += 1
            reason = chunk.choices[0].finish_reason
            if pieces == 1:
                begun.release()
                go_on.wait()
    return pieces, reason


def await_queued(url: str, count: int) -> None:
    """Return once so many requests wait for a place; who comes after a signal is turned away."""
    with httpx.Client(timeout=60) as client:
        while f"medsweep_server_queued {count}.0" not in client.get(f"{url}/metrics").text:
            pass


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_loses_no_answer(sent: signal.Signals) -> None:
    """Those that are being answered, and those that still wait for a place."""
    limits = ("--max-concurrent", "2", "--max-output-tokens", str(LONG))
    with serving("--engine", "null", *limits) as (process, url), ThreadPoolExecutor(6) as pool:
        begun, signalled = threading.Semaphore(0), threading.Event()
        answered = [pool.submit(streamed, url, begun, LONG, signalled) for _ in range(2)]
        for _ in answered:
            begun.acquire()
        waiting = [pool.submit(streamed, url, begun, 9) for _ in range(4)]
        await_queued(url, 4)
        process.send_signal(sent)
        signalled.set()
        assert [answer.result() for answer in answered] == [(LONG, "length")] * 2
        assert [answer.result() for answer in waiting] == [(9, "length")] * 4
        out, err = process.communicate(timeout=100)
        assert (process.returncode, out.splitlines()[-1]) == (0, "stopped")
        assert err == ""
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health", timeout=60)


def test_a_second_signal_does_not_wait() -> None:
    limits = ("--max-concurrent", "1", "--max-output-tokens", str(LONG))
    with serving("--engine", "null", *limits) as (process, url):
        with ThreadPoolExecutor(9) as pool:
            begun, signalled = threading.Semaphore(0), threading.Event()
            answers = [pool.submit(streamed, url, begun, LONG, signalled) for _ in range(9)]
            begun.acquire()
            await_queued(url, 8)
            process.send_signal(signal.SIGINT)
            signalled.set()
            begun.acquire()  # it goes on to the second answer, and has seven to come
            process.send_signal(signal.SIGINT)
            process.wait(100)
            broken = [answer for answer in answers if answer.exception() is not None]
        assert broken
        assert process.stderr is not None
        assert SECRET not in process.stderr.read()


@pytest.mark.timeout(500)
def test_ctrl_c_lets_vllm_finish_its_answers() -> None:
    """Ctrl-C in a terminal reaches the whole process group, but not vLLM's process."""
    if not environment_of("vllm", gpu=False).installed:
        skip("vLLM is not installed: medsweep engines install vllm --cpu")
    model, tokens = "smollm2-135m", 200
    arguments = ("--engine", "vllm", "--base", model, "--max-batch-size", "2")
    with serving(*arguments) as (process, url):
        children = psutil.Process(process.pid).children(recursive=True)
        [engine] = [each for each in children if str(CHILD) in each.cmdline()]
        assert os.getsid(engine.pid) != os.getsid(process.pid)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as sdk:
            # A prompt without a template, so that no stop token ends the answer.
            asked: dict[str, Any] = {"model": model, "prompt": "1, 2, 3, 4,", "max_tokens": tokens}
            stream = sdk.completions.create(**asked, temperature=0, stream=True)
            first = next(iter(stream))
            process.send_signal(signal.SIGINT)
            chunks = [first, *stream]
        assert chunks[-1].choices[0].finish_reason == "length"
        out, err = process.communicate(timeout=100)
        assert (process.returncode, out.splitlines()[-1]) == (0, "stopped"), err
        assert psutil.wait_procs([engine], timeout=60)[0] == [engine]


def test_beyond_loopback_with_a_key() -> None:
    arguments = ("--engine", "null", "--host", "0.0.0.0")
    environment = {**os.environ, "MEDSWEEP_API_KEY": "right-" * 4}
    with serving(*arguments, environment=environment) as (_, url):
        local = url.replace("0.0.0.0", "127.0.0.1")
        for key, status in (("right-" * 4, 200), ("wrong-" * 4, 401)):
            answer = httpx.get(
                f"{local}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=60
            )
            assert answer.status_code == status


def test_log_probabilities_of_a_given_answer_are_the_model_s() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, answer = "standin-distilgpt2", "A disease of the airways."
    prompt = TEMPLATES["alpaca"].render(conversation("What is asthma?"))
    with serving("--engine", "continuous", "--base", name) as (_, url):
        found = answer_logprobs(f"{url}/v1", name, prompt, answer, timeout_s=60)
    folder = fetch_weights(identify(MODELS[name], embedded_answers()))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before, both = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + answer)
    )
    assert both[: len(before)] == before
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        rows = model(torch.tensor([both])).logits[0].double().log_softmax(-1)
    true = [float(rows[place - 1, both[place]]) for place in range(len(before), len(both))]
    assert found == pytest.approx(true, abs=1e-3)
