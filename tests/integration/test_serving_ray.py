"""The Ray Serve application on a real Ray: its API, clients that go, replicas that die, its end."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from crds import ROOT
from medsweep.cluster import isolation
from medsweep.cluster.local import LocalCluster
from medsweep.errors import UnknownName
from medsweep.hardware.catalog import PROFILES
from medsweep.k8s.render import SWEEP_VARIABLE
from medsweep.serving.config import ServeConfig
from medsweep.serving.engines.environment import environment_of
from medsweep.serving.engines.openvino import CHILD
from medsweep.serving.engines.vllm import CHILD as VLLM_CHILD
from medsweep.serving.ray.application import build_application
from medsweep.sweep.resolve import resolve
from support import make_spec, package, skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEY = "key-of-the-tests"
APPLICATION = "served"
# Tokens of an answer that takes a moment, and of one that ends long after the test has cut it off.
LONG, ENDLESS = 1500, 100_000
PROFILE = PROFILES["1xv100-1cpu"]


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    """Where Ray Serve listens; there is a node with the profile's labels."""
    with pytest.MonkeyPatch.context() as patch:
        # As on Kubernetes, the head's environment alone has the key; a local cluster has none.
        patch.setenv("MEDSWEEP_API_KEY", KEY)
        patch.setattr(isolation, "secret_names", lambda names: set())
        with LocalCluster() as cluster:
            patch.delenv("MEDSWEEP_API_KEY")
            cluster.ensure_nodes([PROFILE])
            from ray import serve
            from ray.serve.config import HTTPOptions

            options = HTTPOptions(host="127.0.0.1", port=cluster.port)
            serve.start(proxy_location="HeadOnly", http_options=options)
            yield f"http://127.0.0.1:{cluster.port}"


def run_application(**config: Any) -> None:
    from ray import serve

    application = build_application(ServeConfig.model_validate(config), PROFILE)
    serve.run(application, name=APPLICATION, route_prefix="/")


@pytest.fixture(scope="module")
def url(root: str) -> str:
    """Where the null engine is served."""
    limits = {"max_concurrent": 8, "max_queued": 2, "max_output_tokens": ENDLESS}
    run_application(engine="null", limits=limits)
    return root


@pytest.fixture
def sdk(url: str) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def streamed(sdk: openai.OpenAI, begun: threading.Semaphore, tokens: int) -> tuple[int, Any]:
    """Stream an answer; the pieces that came, and why it ended."""
    stream = sdk.completions.create(model="null", prompt="Why?", max_tokens=tokens, stream=True)
    pieces, reason = 0, None
    for chunk in stream:
        pieces += 1
        reason = chunk.choices[0].finish_reason
        if pieces == 1:
            begun.release()
    return pieces, reason


def engine_actor() -> Any:
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    [engine] = [actor for actor in named if f"{APPLICATION}#Engine#" in actor["name"]]
    return ray.get_actor(**engine)


def test_the_api_behind_ray(url: str, sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["null"]
    answer = sdk.chat.completions.create(
        model="null", messages=[{"role": "user", "content": "Why?"}], max_tokens=3
    )
    assert answer.choices[0].message.content == "null null null "
    assert streamed(sdk, threading.Semaphore(0), 5) == (5, "length")
    assert httpx.get(f"{url}/v1/models", timeout=60).status_code == 401
    assert httpx.get(f"{url}/health", timeout=60).json() == {"status": "ok"}
    text = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {KEY}"}, timeout=60).text
    assert 'medsweep_server_requests_total{model="null",outcome="ok"} 2.0' in text
    assert text.count("# TYPE medsweep_server_adapters_loaded gauge") == 1
    assert text.count("# TYPE medsweep_server_running gauge") == 1


def metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {KEY}"}, timeout=60).text


def running(url: str) -> float:
    lines = metrics(url).splitlines()
    [line] = [line for line in lines if line.startswith("medsweep_server_running ")]
    return float(line.split()[1])


def test_a_client_that_goes_frees_its_place(url: str, sdk: openai.OpenAI) -> None:
    stream = sdk.completions.create(model="null", prompt="Why?", max_tokens=ENDLESS, stream=True)
    next(iter(stream))
    assert running(url) == 1
    stream.close()
    while running(url) != 0:
        pass
    # The place is free a moment before the request is counted.
    while 'outcome="cancelled"} 1.0' not in metrics(url):
        pass


def test_a_replica_that_dies_is_replaced_and_requests_go_on(sdk: openai.OpenAI) -> None:
    import ray

    begun = threading.Semaphore(0)
    with ThreadPoolExecutor(8) as pool:
        before = [pool.submit(streamed, sdk, begun, ENDLESS) for _ in range(3)]
        for _ in before:
            begun.acquire()
        ray.kill(engine_actor(), no_restart=True)
        after = [pool.submit(streamed, sdk, begun, 5) for _ in range(4)]
        for future in before:
            with pytest.raises(openai.APIError, match="generation failed: Actor"):
                future.result()
        assert [future.result() for future in after] == [(5, "length")] * 4


def test_deleting_the_application_loses_no_answer(sdk: openai.OpenAI) -> None:
    from ray import serve

    begun = threading.Semaphore(0)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(streamed, sdk, begun, LONG) for _ in range(4)]
        for _ in answers:
            begun.acquire()
        serve.delete(APPLICATION)
        assert [answer.result() for answer in answers] == [(LONG, "length")] * 4


def processes_of(program: str) -> list[psutil.Process]:
    """Processes of this test's cluster that run a program; other tests may run it too."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if program in process.cmdline():
                found.append(process)
    return found


def test_openvino_behind_ray(root: str, sdk: openai.OpenAI) -> None:
    """After the deletion, which left the node free: its process is the replica's child."""
    package("openvino_genai")
    from ray import serve

    model = "smollm2-135m"
    run_application(engine="openvino", base=model, quantization="int8")
    messages: list[Any] = [{"role": "user", "content": "What is asthma?"}]
    asked: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": 24,
        "temperature": 0,
    }
    answer = sdk.chat.completions.create(**asked)
    said = answer.choices[0].message.content
    assert said is not None
    assert "asthma" in said.lower()
    deltas = [chunk.choices[0].delta for chunk in sdk.chat.completions.create(**asked, stream=True)]
    assert "".join(delta.content or "" for delta in deltas) == said
    [child] = processes_of(CHILD)
    serve.delete(APPLICATION)
    assert psutil.wait_procs([child], timeout=60)[0] == [child]


def test_vllm_streams_and_stops_behind_ray_serve(root: str, sdk: openai.OpenAI) -> None:
    if not environment_of("vllm", gpu=False).installed:
        skip("vLLM is not installed: medsweep engines install vllm --cpu")
    from ray import serve

    model = "smollm2-135m"
    run_application(engine="vllm", base=model, max_batch_size=2, dtype="float32")
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "What is asthma?"}],
        "max_tokens": 24,
        "temperature": 0,
    }
    said = sdk.chat.completions.create(**asked).choices[0].message.content
    assert said is not None
    assert "asthma" in said.lower()
    deltas = [chunk.choices[0].delta for chunk in sdk.chat.completions.create(**asked, stream=True)]
    assert "".join(delta.content or "" for delta in deltas) == said
    # Two clients that leave free both rows of the batch.
    for _ in range(2):
        with sdk.chat.completions.create(**{**asked, "max_tokens": 900}, stream=True) as stream:
            next(iter(stream))
    assert sdk.chat.completions.create(**asked).choices[0].message.content == said
    [child] = processes_of(str(VLLM_CHILD))
    serve.delete(APPLICATION)
    assert psutil.wait_procs([child], timeout=60)[0] == [child]


def test_the_application_that_a_manifest_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(cells=["distilgpt2@1xv100-1cpu"])
    [cell] = resolve(spec, here=False).plan.runnable
    monkeypatch.setenv(SWEEP_VARIABLE, spec.model_dump_json())
    monkeypatch.syspath_prepend(str(ROOT))
    application = importlib.import_module("jobs.serve").application
    args = {"cell": cell.key, "out": str(tmp_path), "limits": {"max_concurrent": 3}}
    ingress = application(args)._bound_deployment
    engine = ingress.init_args[1]._bound_deployment
    config = engine.init_kwargs["pool"]
    assert (ingress.name, engine.name) == ("Ingress", "Engine")
    assert (config.base, config.limits.max_concurrent) == (cell.model.name, 3)
    [(name, folder)] = config.adapters.items()
    assert folder == tmp_path / spec.name / "adapters" / name
    assert engine.ray_actor_options["label_selector"] == cell.profile.labels
    assert "node:__internal_head__" in ingress.ray_actor_options["resources"]
    with pytest.raises(UnknownName, match="unknown cell"):
        application({**args, "cell": "0123"})
