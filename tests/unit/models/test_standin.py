from pathlib import Path

import pytest
import torch

from medsweep.models import standin
from medsweep.models.cache import file_sha256
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES

pytestmark = pytest.mark.slow

STAND_INS = sorted(name for name in MODELS if name.startswith("standin-"))
SMALL = MODELS["standin-distilgpt2"]


@pytest.fixture(autouse=True)
def quick(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(standin.RECIPE, "steps", 5)


def test_there_is_one_for_each_architecture() -> None:
    assert len(STAND_INS) == len(standin.ARCHITECTURES) == 5


@pytest.mark.parametrize("name", STAND_INS)
def test_each_architecture_is_built_and_generates(
    name: str, corpus: tuple[str, ...], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = MODELS[name]
    standin.build(spec, corpus, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert len(tokenizer) == spec.vocab_size
    assert sum(parameter.numel() for parameter in model.parameters()) == spec.parameters
    modules = {key.rpartition(".")[2] for key, _ in model.named_modules()}
    assert set(spec.lora_targets) <= modules
    stops = tokenizer.convert_tokens_to_ids(list(spec.stop_tokens))
    assert len(set(stops)) == len(spec.stop_tokens)
    prompt = TEMPLATES[spec.template].render([{"role": "user", "content": "What is asthma?"}])
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == prompt
    with torch.inference_mode():
        made = model.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=stops)
    assert ids.shape[1] < made.shape[1] <= ids.shape[1] + 4


def build(texts: tuple[str, ...], folder: Path) -> str:
    standin.build(SMALL, texts, folder)
    return file_sha256(folder / "model.safetensors")


def test_the_weights_are_those_of_the_recipe(
    corpus: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = corpus[:40]
    torch.manual_seed(1)
    first = build(texts, tmp_path / "first")
    torch.manual_seed(2)
    assert build(texts, tmp_path / "second") == first
    revision = standin.revision(SMALL, texts)
    monkeypatch.setitem(standin.RECIPE, "seed", 1)
    assert build(texts, tmp_path / "third") != first
    assert standin.revision(SMALL, texts) != revision
    assert not list(tmp_path.rglob("*.bin"))


def test_building_leaves_the_session_s_randomness_alone(
    corpus: tuple[str, ...], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1).item()
    torch.manual_seed(5)
    build(corpus[:40], tmp_path)
    assert torch.rand(1).item() == expected


def test_a_text_shorter_than_a_window_is_enough(tmp_path: Path) -> None:
    assert build(("Asthma is a disease of the airways.",), tmp_path)


def test_only_a_stand_in_is_built(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="llama-3-8b is not a stand-in"):
        standin.build(MODELS["llama-3-8b"], ("text",), tmp_path)
