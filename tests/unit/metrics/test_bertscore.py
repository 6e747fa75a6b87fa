"""BERTScore, with an encoder that was made on the spot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medsweep.cli import main
from medsweep.errors import InputError
from medsweep.metrics.bertscore import BertScore

pytestmark = pytest.mark.slow
pytest.importorskip("torchmetrics", reason="extra `bertscore` is not installed")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "rest",
    "and",
    "drink",
    "water",
    "aspirin",
    "lowers",
    "fever",
    "the",
    "flu",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
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
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(WORDS), intermediate_size=64, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def by_the_formula(folder: Path, answer: str, reference: str) -> float:
    """Greedy matching by cosine, without first and last token (Zhang et al. 2020, 3)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    sides = []
    for text in (answer, reference):
        with torch.no_grad():
            state = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        sides.append(torch.nn.functional.normalize(state, dim=-1).numpy())
    alike = sides[0] @ sides[1].T
    precision, recall = alike.max(axis=1).mean(), alike.max(axis=0).mean()
    return float(2 * precision * recall / (precision + recall))


def test_score_is_that_of_the_paper(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("rest and drink water", "rest and drink water"), ("aspirin lowers fever", "the flu")]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(json.dumps({"prediction": a, "reference": r}) for a, r in pairs))
    assert main(["score", str(file), "--bertscore", str(encoder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"]["bertscore_f1"]
    wanted = [by_the_formula(encoder, *pair) for pair in pairs]
    assert wanted[0] == pytest.approx(1.0)
    assert found["mean"] == pytest.approx(np.mean(wanted), abs=1e-4)
    assert found["max"] == pytest.approx(max(wanted), abs=1e-4)
    assert found["low"] <= found["mean"] <= found["high"]


def test_each_answer_is_compared_with_its_own_reference(encoder: Path) -> None:
    """Sorted by length, the answers and the references are in two other orders."""
    pairs = [
        ("aspirin lowers", "the flu lowers fever"),
        ("rest and drink water", "drink water"),
        ("the flu and fever lowers", "rest and drink"),
        ("water and fever", "the flu and aspirin lowers fever"),
    ]
    graded = BertScore(encoder)
    for pair in pairs:
        graded.add(*pair)
    mean = graded.f1(seed=0)
    expected = [by_the_formula(encoder, *pair) for pair in pairs]
    crossed = [by_the_formula(encoder, pairs[n - 1][0], pairs[n][1]) for n in range(len(pairs))]
    assert mean is not None
    assert mean.mean == pytest.approx(np.mean(expected), abs=1e-4)
    assert graded.greatest == pytest.approx(max(expected), abs=1e-4)
    assert np.mean(crossed) != pytest.approx(np.mean(expected), abs=1e-3)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model there"):
        BertScore(tmp_path)


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
