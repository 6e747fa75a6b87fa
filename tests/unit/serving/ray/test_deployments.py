import pickle
from dataclasses import replace

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.ray.deployments import Deployed


def test_a_user_s_own_model_travels_to_the_process_that_serves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(MODELS["mistral-7b"], name="mine-7b", source="own")
    with monkeypatch.context() as patch:
        patch.setattr(MODELS, "_entries", {**MODELS._entries, own.name: own})
        settings = EngineSettings("generate", MODELS["mine-7b"], "float32")
        sent = pickle.dumps(Deployed("cell", PROFILES["1xv100-1cpu"], settings))
    assert "mine-7b" not in MODELS
    assert pickle.loads(sent).settings.model == own
