import pytest

from medsweep.errors import StageError
from medsweep.serving.ray.node_telemetry import NodeTelemetry


class Replica:
    """Answers as an engine's replica does, without Ray (fake); can be replaced meanwhile."""

    def __init__(self) -> None:
        self.identity: str | None = "first"

    def __call__(self, method: str) -> object:
        if self.identity is None or method == "start_sampling":
            return self.identity
        return self.identity, None


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Replica:
    found = Replica()
    monkeypatch.setattr(NodeTelemetry, "_call", lambda self, method: found(method))
    return found


def test_a_replica_that_answers_at_both_ends_lasted(replica: Replica) -> None:
    with NodeTelemetry("cell") as watch:
        pass
    assert watch.lasted


def test_another_replica_at_the_end_did_not_last(replica: Replica) -> None:
    with NodeTelemetry("cell") as watch:
        replica.identity = "second"
    assert not watch.lasted


def test_no_answer_at_the_end_did_not_last(replica: Replica) -> None:
    with NodeTelemetry("cell") as watch:
        replica.identity = None
    assert not watch.lasted


def test_a_dead_engine_is_not_measured(replica: Replica) -> None:
    replica.identity = None
    with pytest.raises(StageError, match="the engine died before the load"), NodeTelemetry("cell"):
        pytest.fail("it was measured")
