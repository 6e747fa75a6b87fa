from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.clock import MonotonicClock
from medsweep.errors import InputError
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
    with pytest.raises(InputError, match="two: an adapter of 'llama-3-8b', but 'distilgpt2'"):
        opened(adapters={"one": one, "two": two})
    with pytest.raises(InputError, match="one: an adapter of 'distilgpt2', but 'mistral-7b'"):
        opened(adapters={"one": one}, base="mistral-7b")


def test_a_root_with_adapters_of_several_models(tmp_path: Path) -> None:
    """Here only as far as the base: it is gone, and that of the right adapter is missed."""
    put(tmp_path / "a", "standin-distilgpt2", base=tmp_path / "gone-a")
    put(tmp_path / "b", "standin-llama-3-8b", base=tmp_path / "gone-b")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter.json").write_text("{")
    for base, missed in ((None, "gone-a"), ("standin-llama-3-8b", "gone-b")):
        with pytest.raises(InputError, match=f"{missed}: the adapters' base"):
            opened(adapter_root=tmp_path, base=base)


def test_what_is_no_adapter_or_whose_base_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a complete adapter"):
        opened(adapters={"a": tmp_path})
    alone = put(tmp_path / "alone", "standin-distilgpt2")
    with pytest.raises(InputError, match="base is not there any more"):
        opened(adapters={"a": alone})
    with pytest.raises(InputError, match="unknown model 'distilgpt3'"):
        opened(base="distilgpt3")


async def test_the_null_engine_needs_no_model() -> None:
    service = opened(engine="null")
    await service.check()
    assert await service.models() == ["null"]
    service.close()
