import pickle
from dataclasses import replace

from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.ray.deployments import CellDeployment


def test_a_user_s_own_model_travels_to_the_process_that_serves_it() -> None:
    own = replace(MODELS["mistral-7b"], name="mine-7b", source="own")
    settings = EngineSettings("generate", own, "float32")
    sent = pickle.dumps(CellDeployment("cell", PROFILES["1xv100-1cpu"], settings))
    assert pickle.loads(sent).settings.model == own
