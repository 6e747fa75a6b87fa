import pytest

from medsweep.serving.ray.node_telemetry import Watch


class Replica:
    """Answers as an engine's replica does, without Ray (fake); can be replaced meanwhile."""

    def __init__(self) -> None:
        self.identity = "first"

    def __call__(self, method: str) -> object:
        return self.identity if method == "watch" else (self.identity, None)


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Replica:
    found = Replica()
    monkeypatch.setattr(Watch, "_ask", lambda self, method: found(method))
    return found


def test_a_replica_that_answers_at_both_ends_lasted(replica: Replica) -> None:
    with Watch("cell") as watch:
        pass
    assert watch.lasted


def test_another_replica_at_the_end_did_not_last(replica: Replica) -> None:
    with Watch("cell") as watch:
        replica.identity = "second"
    assert not watch.lasted


def test_no_answer_at_the_end_did_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "_ask", lambda self, method: None)
    with Watch("cell") as watch:
        pass
    assert not watch.lasted
