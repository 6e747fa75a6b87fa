from dataclasses import replace
from pathlib import Path

import pytest

from medsweep.errors import UnknownName
from medsweep.models.catalog import MODELS
from medsweep.serving.config import ServeConfig
from medsweep.serving.service import resolve_settings


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
