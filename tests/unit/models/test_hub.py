"""What is fetched from the hub, and what is said where it refuses or is not reached."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError

from medsweep.errors import EnvironmentFault
from medsweep.models.catalog import MODELS
from medsweep.models.hub import FETCHED, SECOND_COPIES
from medsweep.models.weights import fetch_weights, identify


def gated_error() -> Exception:
    import httpx

    answer = httpx.Response(403, request=httpx.Request("GET", "https://hub/token=secret"))
    return GatedRepoError("token=secret", response=answer)


@pytest.mark.parametrize(
    ("name", "error", "offline", "advice"),
    [
        ("llama-3-8b", gated_error(), False, "accept its licence on the hub and set HF_TOKEN"),
        ("distilgpt2", gated_error(), False, "the hub answered, but refused it"),
        ("llama-3-8b", ConnectionError("token=secret"), False, "the hub was not reached: check"),
        ("distilgpt2", ConnectionError("token=secret"), False, "or set stand_ins: true"),
        ("llama-3-8b", ConnectionError("token=secret"), True, "HF_HUB_OFFLINE is set, and the"),
    ],
)
def test_a_hub_that_refuses_is_told_from_one_that_is_not_reached(
    name: str, error: Exception, offline: bool, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(EnvironmentFault) as fault:
        fetch_weights(identify(MODELS[name], []))
    text = str(fault.value)
    assert advice in text
    assert ("licence" in text) == (name == "llama-3-8b" and "accept" in advice)
    assert f"{MODELS[name].hub_id}@{MODELS[name].revision}" in text
    assert type(error).__name__ in text
    assert "secret" not in text


def test_only_weights_and_configuration_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(hub_id: str, **options: Any) -> str:
        asked.update(options, hub_id=hub_id)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    spec = MODELS["distilgpt2"]
    assert fetch_weights(identify(spec, [])) == tmp_path
    assert (asked["hub_id"], asked["revision"]) == (spec.hub_id, spec.revision)
    # Nothing that can hold code: no .bin (pickle), no .py.
    assert asked["allow_patterns"] == ["*.json", "*.safetensors", "*.model", "*.txt"]


def test_weights_are_not_fetched_twice_in_two_forms() -> None:
    names = ["model-00001-of-00003.safetensors", "consolidated.safetensors", "config.json"]
    names += ["original/params.json", "tokenizer.model", "modeling.py"]
    kept = huggingface_hub.utils.filter_repo_objects(
        names, allow_patterns=FETCHED, ignore_patterns=SECOND_COPIES
    )
    assert list(kept) == ["model-00001-of-00003.safetensors", "config.json", "tokenizer.model"]
