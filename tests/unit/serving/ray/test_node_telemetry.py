import pytest

from medsweep.serving.ray.node_telemetry import NodeTelemetry


class Replica:
    """Answers as an engine's replica does, without Ray (fake); can be replaced meanwhile."""

    def __init__(self) -> None:
        self.identity = "first"

    def __call__(self, method: str) -> object:
        return self.identity if method == "start_sampling" else (self.identity, None)


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


def test_no_answer_at_the_end_did_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NodeTelemetry, "_call", lambda self, method: None)
    with NodeTelemetry("cell") as watch:
        pass
    assert not watch.lasted
