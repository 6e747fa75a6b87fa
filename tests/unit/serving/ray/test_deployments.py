import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from medsweep.errors import UnknownName
from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.serving.ray.deployments import Deployed


def deployed(model: str) -> Deployed:
    return Deployed(
        name="cell",
        model=model,
        adapters={"one": Path("one")},
        profile=PROFILES["1xv100-1cpu"],
        engine="generate",
        dtype="float32",
        quantization="none",
        max_batch_size=8,
    )


def test_a_user_s_own_model_travels_to_the_process_that_serves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(MODELS["mistral-7b"], name="mine-7b", source="own")
    with monkeypatch.context() as patch:
        patch.setattr(MODELS, "_entries", {**MODELS._entries, own.name: own})
        sent = pickle.dumps(deployed("mine-7b"))
    assert "mine-7b" not in MODELS
    assert pickle.loads(sent).spec == own


def test_an_unknown_model_is_found_before_anything_is_sent() -> None:
    with pytest.raises(UnknownName, match="mine-7b"):
        deployed("mine-7b")
