from collections import Counter
from typing import Any

import pytest

from medsweep.datasets.spec import Pair
from medsweep.finetune.data import IGNORED, Example, batches, conversation, encode
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES

PAIR = Pair("q", "What is asthma?", "Asthma is a disease of the airways. Caf\u00e9s?")
PAPER_FIVE = ["distilgpt2", "gemma-1.1-7b", "llama-3-8b", "llama-2-7b", "mistral-7b"]


def examples(*lengths: int) -> list[Example]:
    """Examples of distinct tokens, each with a prompt of two."""
    return [
        Example(tuple(100 * number + place for place in range(length)), 2)
        for number, length in enumerate(lengths, start=1)
    ]


@pytest.mark.parametrize("name", PAPER_FIVE)
def test_exactly_the_prompt_s_tokens_have_no_label(name: str, make_tokenizer: Any) -> None:
    tokenizer, template = make_tokenizer(name), TEMPLATES[MODELS[name].template]
    example = encode(PAIR, template, tokenizer, 512)
    prompt_text = template.render(conversation(PAIR.question))
    prompt = tokenizer(prompt_text, add_special_tokens=False)["input_ids"]
    answer = tokenizer(template.answer(PAIR.answer), add_special_tokens=False)["input_ids"]
    assert list(example.input_ids) == prompt + answer
    assert example.labels == [IGNORED] * len(prompt) + answer
    assert tokenizer.decode(prompt) == prompt_text
    assert tokenizer.decode(answer) == template.answer(PAIR.answer)


@pytest.mark.parametrize("name", PAPER_FIVE)
def test_the_end_of_the_answer_is_learnt_and_stands_once(name: str, make_tokenizer: Any) -> None:
    tokenizer, spec = make_tokenizer(name), MODELS[name]
    example = encode(PAIR, TEMPLATES[spec.template], tokenizer, 512)
    stops = tokenizer.convert_tokens_to_ids(list(spec.stop_tokens))
    assert example.labels[-1] in stops
    assert sum(label in stops for label in example.labels) == 1
    begins = example.input_ids.count(tokenizer.bos_token_id)
    # Alpaca's prompt has no beginning token; GPT-2's is the same as the end.
    assert begins == 1


def test_what_is_over_the_limit_is_cut_from_the_end(make_tokenizer: Any) -> None:
    tokenizer, template = make_tokenizer("llama-3-8b"), TEMPLATES["llama-3"]
    whole = encode(PAIR, template, tokenizer, 512)
    cut = encode(PAIR, template, tokenizer, whole.prompt_tokens + 3)
    assert cut.input_ids == whole.input_ids[: whole.prompt_tokens + 3]
    assert cut.labels[-4:] == [IGNORED, *whole.labels[whole.prompt_tokens :][:3]]
    no_room = encode(PAIR, template, tokenizer, 5)
    assert (len(no_room.input_ids), no_room.prompt_tokens) == (5, 5)
    assert set(no_room.labels) == {IGNORED}


def test_padding_has_neither_attention_nor_loss() -> None:
    # The padding token is also the end token, as with GPT-2: only its place tells them apart.
    end = 7
    short, long = Example((1, 2, 3, end), 2), Example((1, 2, 3, 4, 5, end), 3)
    [batch] = batches([short, long], 2, pad_id=end, seed=None)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 7, 7, 7], [1, 2, 3, 4, 5, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    x = IGNORED
    assert batch["labels"].tolist() == [[x, x, 3, 7, x, x], [x, x, x, 4, 5, 7]]


def test_without_a_seed_the_order_is_kept() -> None:
    found = [batch["input_ids"][:, 0].tolist() for batch in batches(examples(9, 3, 5), 2, 0, None)]
    assert found == [[100, 200], [300]]


def first_tokens(given: list[Example], seed: int) -> list[list[int]]:
    return [batch["input_ids"][:, 0].tolist() for batch in batches(given, 4, 0, seed)]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [1, 4, 31, 70])
def test_an_epoch_holds_every_example_once(count: int, seed: int) -> None:
    given = examples(*(3 + (n * 37) % 50 for n in range(count)))
    found = first_tokens(given, seed)
    assert Counter(token for batch in found for token in batch) == Counter(
        example.input_ids[0] for example in given
    )
    assert len(found) == -(-count // 4)
    assert all(1 <= len(batch) <= 4 for batch in found)


def test_the_seed_decides_the_order() -> None:
    given = examples(*(3 + (n * 37) % 50 for n in range(70)))
    assert first_tokens(given, 1) == first_tokens(given, 1)
    assert first_tokens(given, 1) != first_tokens(given, 2)


def test_sorting_by_length_saves_padding() -> None:
    given = examples(*(3 + (n * 37) % 50 for n in range(64)))

    def padding(seed: int | None) -> int:
        return sum(int((1 - b["attention_mask"]).sum()) for b in batches(given, 4, 0, seed))

    assert padding(1) < padding(None) / 2
