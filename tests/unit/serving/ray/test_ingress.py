import pytest

from medsweep.serving.admission import Limits
from medsweep.serving.ray.ingress import ingress_application

pytestmark = pytest.mark.slow  # for the import of Ray Serve alone


@pytest.mark.parametrize("engine", [None, "the handle of an engine"])
def test_an_ingress_runs_on_the_head_which_a_sweep_never_stops(engine: str | None) -> None:
    application = ingress_application(Limits(), engine, most_requests=8)
    options = application._bound_deployment.ray_actor_options
    assert options["resources"] == {"node:__internal_head__": 0.001}
    assert options["num_cpus"] == 0
