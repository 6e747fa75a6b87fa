import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.clock import FakeClock, MonotonicClock
from medsweep.errors import InputError, UnknownName
from medsweep.finetune.adapter import CARD_FILE, base_sha256
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights
from medsweep.serving import service
from medsweep.serving.config import ServeConfig
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.server_metrics import ServerMetrics
from medsweep.serving.service import open_pool, resolve_settings


def test_a_model_that_a_sweep_defines_is_served_where_the_catalogue_does_not_have_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    own = replace(MODELS["standin-llama-3-8b"], name="mine-1b", source="own", folder=str(tmp_path))
    config = ServeConfig(base="mine-1b", engine="generate")
    settings = resolve_settings(config, MODELS.extended([own]))
    assert (settings.model, settings.base) == (own, tmp_path)
    with pytest.raises(UnknownName, match="unknown model 'mine-1b'"):
        resolve_settings(config)


def test_a_folder_that_cannot_be_served_is_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "open_engine", lambda _: pytest.fail("a model was loaded"))
    settings = EngineSettings("generate", MODELS["standin-llama-3-8b"], "float32")
    config = ServeConfig(adapter_root=tmp_path / "missing")
    with pytest.raises(InputError, match="no such folder of adapters"):
        open_pool(settings, config, ServerMetrics([]), FakeClock())


@pytest.mark.slow
def test_a_sweep_s_stand_in_is_built_where_it_is_missing(fine_tuned: Any, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(fine_tuned.job.folder, folder)
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "base": str(tmp_path / "other-machine")}))
    config = ServeConfig(adapters={"a": folder})
    with pytest.raises(InputError, match="base model is no longer there"):
        resolve_settings(config)
    settings = resolve_settings(config, weights=fine_tuned.job.weights)
    assert settings.base is not None
    assert base_sha256(settings.base) == card["base_sha256"]


@pytest.mark.slow
def test_one_adapter_is_served_merged_without_its_base(
    fine_tuned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = fetch_weights(fine_tuned.job.weights)
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path))
    folder = fine_tuned.job.folder
    config = ServeConfig(adapters={"a": folder}, base_folder=base, merged=True)
    settings = resolve_settings(config)
    assert (settings.engine, settings.model.name, settings.adapters) == ("continuous", "a", {})
    assert settings.base is not None
    assert settings.base.is_relative_to(tmp_path / "merged")
    pool = open_pool(settings, config, ServerMetrics([]), MonotonicClock())
    assert asyncio.run(pool.models()) == ["a"]
    pool.close()
    for wrong in ({"adapters": {}}, {"adapter_root": tmp_path}):
        with pytest.raises(InputError, match="give exactly one adapter, and no adapter root"):
            resolve_settings(config.model_copy(update={"base": "standin-llama-3-8b", **wrong}))
