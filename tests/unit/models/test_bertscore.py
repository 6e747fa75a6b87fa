"""BERTScore, with an encoder that was made on the spot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medsweep.cli import main
from medsweep.errors import InputError
from medsweep.models import bertscore
from medsweep.models.bertscore import BertScore

ADDED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [*ADDED, "rest", "and", "drink", "water", "aspirin", "lowers", "fever", "the", "flu"]

PAIRS = [
    ("rest and drink water", "rest and drink water"),
    ("aspirin lowers fever", "the flu"),
    ("aspirin lowers", "the flu lowers fever"),
    ("the flu and fever lowers", "rest and drink"),
    ("water", "the flu and aspirin lowers fever and the flu and fever rest and drink water"),
    ("water and fever", "the flu and aspirin lowers fever"),
]

# torchmetrics 1.9.0 (`functional.text.bert.bert_score`) on this encoder and these pairs, two at a
# time: it mixes up the order of a larger batch.
TORCHMETRICS = [1.0, 0.917302, 0.698776, 0.859724, 0.74311, 0.84121]


def write_encoder(folder: Path) -> None:
    """Write an encoder in BERT's shape whose weights are the same with every version of PyTorch."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, sep_token="[SEP]", model_max_length=64, **special
    ).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=len(WORDS), intermediate_size=64, **sizes))
    for name, weights in sorted(model.named_parameters()):
        if "LayerNorm" not in name:
            numbers = torch.arange(weights.numel(), dtype=torch.float64)
            values = torch.sin((1 + len(name)) * (1 + numbers) ** 1.5) / 3
            weights.data = values.float().reshape(weights.shape)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder)
    return folder


def graded(folder: Path, pairs: list[tuple[str, str]]) -> BertScore:
    score = BertScore(folder)
    for pair in pairs:
        score.add(*pair)
    return score


@pytest.mark.slow
def test_the_command_gives_the_mean_and_the_best(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(json.dumps({"prediction": a, "reference": r}) for a, r in PAIRS))
    assert main(["score", str(file), "--bertscore", str(encoder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"]["bertscore_f1"]
    assert found["mean"] == pytest.approx(np.mean(TORCHMETRICS), abs=1e-5)
    assert found["max"] == pytest.approx(1.0, abs=1e-5)
    assert found["low"] <= found["mean"] <= found["high"]


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 30, 2**14])
def test_each_answer_is_compared_with_its_own_reference_in_batches_of_any_size(
    encoder: Path, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorted by length, the answers and the references are in two other orders."""
    monkeypatch.setattr(bertscore, "BATCH_TOKENS", tokens)
    assert graded(encoder, PAIRS).figures == pytest.approx(TORCHMETRICS, abs=1e-5)
    assert TORCHMETRICS[0] == pytest.approx(1.0, abs=1e-5)
    assert max(TORCHMETRICS[1:]) < 0.99
    assert len(set(TORCHMETRICS)) == len(PAIRS)


@pytest.mark.slow
def test_answers_may_be_added_after_a_figure_was_read(encoder: Path) -> None:
    score = graded(encoder, PAIRS[:2])
    assert len(score.figures) == 2
    score.add(*PAIRS[2])
    assert score.figures == pytest.approx(TORCHMETRICS[:3], abs=1e-5)


@pytest.mark.slow
def test_answers_are_graded_again_after_a_failure(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the GPU is lost")

    score = graded(encoder, PAIRS)
    with monkeypatch.context() as patch:
        patch.setattr(bertscore, "greedy_f1", fail)
        with pytest.raises(RuntimeError, match="the GPU is lost"):
            _ = score.figures
    score.add("rest", "rest")
    assert score.figures == pytest.approx([*TORCHMETRICS, 1.0], abs=1e-5)


@pytest.mark.slow
def test_a_device_without_room_is_named(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import BertModel

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(BertModel, "to", full)
    with pytest.raises(InputError, match=r"does not load onto the device (cpu|cuda): CUDA out of"):
        BertScore(encoder)


@pytest.mark.slow
def test_an_empty_answer_has_no_likeness(encoder: Path) -> None:
    score = graded(encoder, [("", "the flu"), ("the flu", ""), ("", ""), ("the flu", "the flu")])
    assert score.figures == pytest.approx([0.0, 0.0, 0.0, 1.0], abs=1e-5)
    assert score.greatest == pytest.approx(1.0, abs=1e-5)
    empty = BertScore(encoder)
    assert (empty.f1(seed=0), empty.greatest) == (None, None)


@pytest.mark.slow
def test_a_text_ends_where_the_encoder_has_no_more_positions(encoder: Path) -> None:
    # 64 tokens, of which the tokenizer adds two: the 63rd word does not count.
    long = " ".join(["water"] * 62)
    [ends, cut] = graded(encoder, [(long, long), (f"{long} flu", long)]).figures
    assert cut == pytest.approx(ends, abs=1e-6) == pytest.approx(1.0, abs=1e-5)


def test_the_matching_is_greedy_and_leaves_out_what_does_not_count() -> None:
    """Two answers of unit vectors, whose cosines are those of the angles."""
    import torch

    def at(*degrees: float) -> list[list[float]]:
        return [[float(np.cos(np.radians(d))), float(np.sin(np.radians(d)))] for d in degrees]

    # Precision: 0 meets 60 (1/2), 90 meets 60 (cos 30). Recall: 60 meets 90 (cos 30). The third
    # token of the first answer and the second of its reference would match perfectly.
    states = torch.tensor([at(0, 90, 10), at(5, 5, 5), at(60, 10, 10), at(5, 5, 5)])
    words = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]).bool()
    precision, recall = (0.5 + np.sqrt(0.75)) / 2, np.sqrt(0.75)
    found = bertscore.greedy_f1(3 * states, words).tolist()
    assert found == pytest.approx([2 * precision * recall / (precision + recall), 0.0], abs=1e-6)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model there"):
        BertScore(tmp_path)


@pytest.mark.slow
def test_neither_code_nor_pickles_of_the_folder_are_loaded(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file

    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps({"prediction": "rest", "reference": "rest"}))
    coded = Path(shutil.copytree(encoder, tmp_path / "coded"))
    config = json.loads((coded / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil"}
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert main(["score", str(file), "--bertscore", str(coded)]) == 2
    assert "MedSweep runs none" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    pickled = Path(shutil.copytree(encoder, tmp_path / "pickled"))
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no model that can be loaded"):
        BertScore(pickled)


@pytest.mark.slow
def test_weights_that_are_missing_or_damaged_are_said(encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(encoder, tmp_path / "damaged"))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if ".layer.1." not in name},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(InputError, match="no weights for encoder.layer.1"):
        BertScore(folder)
    name = "encoder.layer.0.output.dense.bias"
    weights[name] = weights[name] * float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not numbers"):
        _ = graded(folder, PAIRS).figures
