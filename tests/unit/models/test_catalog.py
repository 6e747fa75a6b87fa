import re
from collections import Counter

import pytest

from medsweep.errors import UnknownName
from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS, PAPER_CELLS
from medsweep.models.spec import ModelSpec
from medsweep.models.templates import TEMPLATES

PAPER = ("distilgpt2", "gemma-1.1-7b", "llama-3-8b", "llama-2-7b", "mistral-7b")

# Width of the feed-forward layers and whether the embeddings are tied, of each config.json: with
# the sizes in the catalogue they determine the number of parameters.
FEED_FORWARD = {
    "distilgpt2": (3072, True),
    "gemma-1.1-7b": (24_576, True),
    "llama-3-8b": (14_336, False),
    "llama-2-7b": (11_008, False),
    "mistral-7b": (14_336, False),
    "smollm2-135m": (1536, True),
    "standin-distilgpt2": (256, True),
    "standin-gemma-1.1-7b": (128, True),
    "standin-llama-3-8b": (128, True),
    "standin-llama-2-7b": (128, True),
    "standin-mistral-7b": (128, True),
}

QUERY_WIDTH = {"gemma-1.1-7b": 4096}


def count_parameters(spec: ModelSpec, inner: int, tied: bool) -> int:
    width, embedding = spec.hidden_size, spec.vocab_size * spec.hidden_size
    if "c_attn" in spec.lora_targets:  # GPT-2: biases, LayerNorm with bias, learned positions
        attention = 4 * width * width + 4 * width
        block = attention + 2 * width * inner + inner + width + 4 * width
        return embedding + spec.context_length * width + spec.layers * block + 2 * width
    queries, keys = QUERY_WIDTH.get(spec.name, width), spec.kv_heads * spec.head_dim
    block = 2 * width * queries + 2 * width * keys + 3 * width * inner + 2 * width
    return embedding * (1 if tied else 2) + spec.layers * block + width


def test_there_are_eleven_models() -> None:
    assert len(MODELS) == 11
    assert list(MODELS) == [*PAPER, "smollm2-135m", *(f"standin-{name}" for name in PAPER)]


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_parameters_follow_from_the_sizes(name: str) -> None:
    assert MODELS[name].parameters == count_parameters(MODELS[name], *FEED_FORWARD[name])


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_every_model_has_what_it_needs(name: str) -> None:
    spec = MODELS[name]
    assert spec.name == name
    assert spec.template in TEMPLATES
    assert spec.lora_targets
    assert TEMPLATES[spec.template].answer_suffix.strip() in spec.stop_tokens
    if spec.source == "standin":
        assert (spec.hub_id, spec.revision, spec.gated) == (None, None, False)
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", spec.revision or "")
        assert spec.stands_in_for is None


@pytest.mark.parametrize(("name", "kv_heads"), list(zip(PAPER, (4, 4, 2, 4, 2), strict=True)))
def test_a_stand_in_is_small_and_keeps_its_architecture_s_ways(name: str, kv_heads: int) -> None:
    small, real = MODELS[f"standin-{name}"], MODELS[name]
    assert small.stands_in_for == name
    assert small.parameters < 1_000_000
    assert small.kv_heads == kv_heads
    for kept in ("template", "lora_targets", "stop_tokens", "float16_overflows"):
        assert getattr(small, kept) == getattr(real, kept)


def test_kv_cache_of_llama_3() -> None:
    # 2 x 32 layers x 8 heads x 128 x 2 bytes
    assert MODELS["llama-3-8b"].kv_bytes_per_token(2) == 131_072


def test_the_paper_has_twelve_cells() -> None:
    assert len(PAPER_CELLS) == len(set(PAPER_CELLS)) == 12
    assert Counter(model for model, _ in PAPER_CELLS) == {
        "distilgpt2": 5,
        "gemma-1.1-7b": 4,
        "llama-3-8b": 3,
    }
    assert {profile for _, profile in PAPER_CELLS} == set(PROFILES)


def test_a_miss_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=re.escape("did you mean 'mistral-7b'?")):
        MODELS["mistral7b"]
