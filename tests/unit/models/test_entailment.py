"""Models for natural language inference, made on the spot with known verdicts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import EnvironmentFault, InputError
from medsweep.models.entailment import EntailmentModel, check_entailment
from tiny_entailment import LABELS, build_entailment

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

PAIRS = [
    (["Rest helps."], "Drink water."),
    (["Rest helps."], "Do not smoke."),
    (["Do not smoke."], "Rest helps."),
    (["Maybe rest."], "Drink water."),
    (["Rest helps.", "Drink a glass of water with every meal of the day."], "Sleep well."),
]
RELATIONS = ["entailed", "contradicted", "contradicted", "neither", "entailed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_entailment(tmp_path_factory.mktemp("models") / "nli")


def judged(model: EntailmentModel, pairs: Any = PAIRS) -> list[str]:
    return [verdict.relation for verdict in model.judge(pairs)]


@pytest.mark.parametrize(
    "labels",
    [LABELS, ("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), ("neutral", "contradiction", "entailed")],
)
def test_labels_are_read_in_any_order(tmp_path: Path, labels: tuple[str, ...]) -> None:
    assert judged(EntailmentModel(str(build_entailment(tmp_path / "m", labels)))) == RELATIONS


def test_batches_change_no_verdict_and_nothing_is_judged_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    rows: list[int] = []
    forward = BertForSequenceClassification.forward

    def counted(self: Any, input_ids: Any, **inputs: Any) -> Any:
        rows.append(len(input_ids))
        return forward(self, input_ids, **inputs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", counted)
    model = EntailmentModel(str(folder), batch=2)
    assert judged(model) == RELATIONS
    assert rows == [2, 2, 1]
    assert judged(model, PAIRS[::-1]) == RELATIONS[::-1]
    assert rows == [2, 2, 1]
    assert model.name.startswith("nli@folder-")


def test_a_long_text_is_read_in_parts_of_sentences(tmp_path: Path) -> None:
    short = EntailmentModel(str(build_entailment(tmp_path / "short", most_tokens=16)))
    long = EntailmentModel(str(build_entailment(tmp_path / "long", most_tokens=64)))
    text = ["You should not smoke at all.", "Eat a lot of fruit every day."]
    # Both are 7 tokens, 3 of the statement and 3 special ones: two do not fit in 16.
    assert judged(long, [(text, "Sleep well.")]) == ["contradicted"]
    assert judged(short, [(text, "Sleep well.")]) == ["entailed"], "the second part entails it"
    assert [verdict.cut for verdict in short.judge([(text, "Sleep well.")])] == [False]
    endless = f"Rest {'very ' * 30}well."
    assert [verdict.cut for verdict in short.judge([(text, endless), ([endless], "Rest.")])] == [
        True,
        True,
    ]
    assert [verdict.cut for verdict in short.judge([([], endless)])] == [False], "nothing is read"


def test_a_text_without_sentences_entails_nothing(folder: Path) -> None:
    model = EntailmentModel(str(folder))
    assert judged(model, [([], "Drink water.")]) == ["neither"]
    assert model.judge([]) == []


def test_a_full_gpu_is_left_to_the_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import BertForSequenceClassification

    forward, calls = BertForSequenceClassification.forward, []

    def full_at_first(self: Any, **inputs: Any) -> Any:
        calls.append(str(inputs["input_ids"].device))
        if len(calls) == 1:
            raise torch.OutOfMemoryError
        return forward(self, **inputs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", full_at_first)
    assert judged(EntailmentModel(str(folder), device="cpu:0")) == RELATIONS
    assert len(calls) == 2


@pytest.mark.parametrize(
    "labels", [("LABEL_0", "LABEL_1", "LABEL_2"), ("entailment", "not_entailment")]
)
def test_other_classifiers_are_refused_in_one_line(tmp_path: Path, labels: tuple[str, ...]) -> None:
    build_entailment(tmp_path / "m", labels)
    with pytest.raises(InputError) as refused:
        check_entailment(str(tmp_path / "m"))
    assert f"its labels (id2label in config.json) are {', '.join(labels)}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_code_pickles_and_untrained_heads_are_refused(folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    coded = Path(shutil.copytree(folder, tmp_path / "coded"))
    config = json.loads((coded / "config.json").read_text())
    (coded / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.E"}}))
    with pytest.raises(InputError, match="MedSweep runs none"):
        EntailmentModel(str(coded))
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    weights = load_file(pickled / "model.safetensors")
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(InputError, match="weights in safetensors"):
        EntailmentModel(str(pickled))
    headless = Path(shutil.copytree(folder, tmp_path / "headless"))
    body = {name: each for name, each in weights.items() if not name.startswith("classifier")}
    save_file(body, headless / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"no weights for classifier\.bias.*not a trained"):
        EntailmentModel(str(headless))
    with pytest.raises(InputError, match="no model here"):
        EntailmentModel(str(tmp_path))


def test_names_that_are_neither_folder_nor_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub

    for name in ("/no/such/folder", "nli"):
        with pytest.raises(InputError, match="no such folder, and no repository"):
            check_entailment(name)
    check_entailment("owner/name@main")
    asked = []

    def offline(*names: str, revision: str, **_: object) -> None:
        asked.append((*names, revision))
        raise OSError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(EnvironmentFault, match=r"weights of owner/name@v2 cannot be fetched"):
        EntailmentModel("owner/name@v2")
    assert asked == [("owner/name", "v2")]
