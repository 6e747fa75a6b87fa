import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from medsweep.errors import StageError
from medsweep.finetune.adapter import read_adapter
from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.ray.deployments import CellDeployment
from support import adapter_of


def test_a_user_s_own_model_travels_to_the_process_that_serves_it() -> None:
    own = replace(MODELS["mistral-7b"], name="mine-7b", source="own")
    settings = EngineSettings("generate", own, "float32")
    sent = pickle.dumps(CellDeployment("cell", PROFILES["1xv100-1cpu"], settings))
    assert pickle.loads(sent).settings.model == own


def test_an_adapter_that_was_replaced_since_the_run_began_is_not_served(tmp_path: Path) -> None:
    files = {"adapter_model.safetensors": b"checked", "adapter_config.json": b"{}"}
    adapter = read_adapter(adapter_of(tmp_path / "one", files))
    settings = EngineSettings("generate", MODELS["mistral-7b"], "float32", adapters={"a": adapter})
    deployed = CellDeployment("cell", PROFILES["1xv100-1cpu"], settings)
    assert deployed.settings_here().adapters == {"a": adapter}
    # All files of the new one fit each other.
    (tmp_path / "one").rename(tmp_path / "moved")
    adapter_of(tmp_path / "one", {**files, "adapter_model.safetensors": b"swapped"})
    with pytest.raises(StageError, match="another adapter than when this run began"):
        deployed.settings_here()
