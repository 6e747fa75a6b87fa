from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.clock import MonotonicClock
from medsweep.errors import InputError
from medsweep.serving import service
from medsweep.serving.config import ServeConfig
from medsweep.serving.server_metrics import ServerMetrics
from medsweep.serving.service import open_service
from support import write_card


def put(folder: Path, model: str, base: Path | None = None) -> Path:
    folder.mkdir(parents=True)
    write_card(folder, model, base or folder / "none")
    return folder


def opened(**fields: Any) -> Any:
    return open_service(ServeConfig(**fields), ServerMetrics([]), MonotonicClock())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"engine": "generat"}, "did you mean 'generate'"),
        ({"limits": {"max_concurrent": 0}}, "limits.max_concurrent"),
        ({"max_loaded": 0}, "max_loaded"),
        ({"adapter": {}}, "Extra inputs"),
    ],
)
def test_faults(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ServeConfig(**fields)


def test_paths_may_be_text_as_in_a_manifest() -> None:
    config = ServeConfig.model_validate({"adapters": {"a": "/x"}, "adapter_root": "/y"})
    assert (config.adapters, config.adapter_root) == ({"a": Path("/x")}, Path("/y"))


def test_nothing_to_serve(tmp_path: Path) -> None:
    for fields in ({}, {"adapter_root": tmp_path}):
        with pytest.raises(InputError, match="nothing to serve"):
            opened(**fields)


def test_adapters_of_two_models(tmp_path: Path) -> None:
    one, two = put(tmp_path / "one", "distilgpt2"), put(tmp_path / "two", "llama-3-8b")
    with pytest.raises(
        InputError, match="two: an adapter of 'llama-3-8b', but the base model is 'distilgpt2'"
    ):
        opened(adapters={"one": one, "two": two})
    with pytest.raises(
        InputError, match="one: an adapter of 'distilgpt2', but the base model is 'mistral-7b'"
    ):
        opened(adapters={"one": one}, base="mistral-7b")


@pytest.mark.parametrize("model", ["distilgpt2", "mistral-7b"])
def test_an_adapter_below_the_root_never_decides_the_base(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: who may write below the root puts a base of their own there."""
    evil, ours = tmp_path / "evil", tmp_path / "ours"
    for folder in (evil, ours):
        folder.mkdir()
        (folder / "model.safetensors").write_text(folder.name)
    put(tmp_path / "root" / "a", model, base=evil)
    with pytest.raises(InputError, match="do not decide which base"):
        opened(adapter_root=tmp_path / "root")
    monkeypatch.setattr(service, "fetch_weights", lambda _: ours)
    monkeypatch.setattr(service, "identify", lambda *_: None)
    for fields in ({}, {"base_folder": ours}):
        config = ServeConfig(base="distilgpt2", adapter_root=tmp_path / "root", **fields)
        settings = service.resolve_settings(config)
        assert (settings.model.name, settings.base) == ("distilgpt2", ours)
    with pytest.raises(InputError, match="holds no"):
        opened(base="distilgpt2", base_folder=tmp_path)


def test_what_is_no_adapter_or_whose_base_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a complete adapter"):
        opened(adapters={"a": tmp_path})
    alone = put(tmp_path / "alone", "standin-distilgpt2")
    with pytest.raises(InputError, match="base model is no longer there"):
        opened(adapters={"a": alone})
    with pytest.raises(InputError, match="unknown model 'distilgpt3'"):
        opened(base="distilgpt3")


async def test_the_null_engine_needs_no_model() -> None:
    pool = opened(engine="null")
    await pool.check()
    assert await pool.models() == ["null"]
    pool.close()
