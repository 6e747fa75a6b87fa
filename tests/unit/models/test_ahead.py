"""Weights that are fetched ahead are there, or on their way, when they are needed."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from medsweep.models import ahead, standin
from medsweep.models.ahead import fetched_ahead, weights_of
from medsweep.models.cache import cache_root
from medsweep.models.catalog import MODELS
from medsweep.models.weights import Weights, fetch_weights, identify

TEXTS = ["Iron is taken on an empty stomach.", "Call a doctor if the fever lasts."]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path))
    return identify(MODELS["standin-distilgpt2"], TEXTS)


@pytest.mark.slow
def test_a_process_of_its_own_builds_what_is_needed_next(
    stand_in: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fetched_ahead([stand_in]):
        deadline_s = time.monotonic() + 300
        while not list((cache_root() / "models").glob("standin-distilgpt2-*/config.json")):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    monkeypatch.setattr(standin, "build", lambda *_: pytest.fail("built a second time"))
    assert (fetch_weights(stand_in) / "model.safetensors").is_file()


def children() -> set[int]:
    """Ids of this process's children; those of earlier tests may end at any moment."""
    return {child.pid for child in psutil.Process().children()}


def test_without_a_process_of_its_own_weights_are_fetched_when_they_are_needed(
    stand_in: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead.sys, "executable", "/no/such/python")
    before = children()
    with fetched_ahead([stand_in]):
        assert children() <= before


def test_what_is_not_needed_any_more_is_given_up(stand_in: Weights) -> None:
    before = children()
    with fetched_ahead([stand_in]):
        assert len(children() - before) == 1
    assert children() <= before
    assert not list(cache_root().rglob("building-*"))


def test_the_identity_survives_json() -> None:
    for spec in MODELS.values():
        weights = Weights(spec, "r-1", ("a", "b"))
        assert weights_of(json.loads(json.dumps(asdict(weights)))) == weights
