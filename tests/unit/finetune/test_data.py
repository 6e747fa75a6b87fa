from typing import Any

import pytest

from medsweep.datasets.spec import Pair
from medsweep.datasets.split import Split
from medsweep.errors import StageError
from medsweep.finetune.data import IGNORED, Example, collate, encode, tokenise
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES, conversation

PAIR = Pair("q", "What is asthma?", "Asthma is a disease of the airways. Caf\u00e9s?")
PAPER_FIVE = ["distilgpt2", "gemma-1.1-7b", "llama-3-8b", "llama-2-7b", "mistral-7b"]


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
    assert cut.cut
    assert not whole.cut
    assert not encode(PAIR, template, tokenizer, len(whole.input_ids)).cut
    no_room = encode(PAIR, template, tokenizer, 5)
    assert no_room.answer_tokens == 0
    assert (len(no_room.input_ids), no_room.prompt_tokens) == (5, 5)
    assert set(no_room.labels) == {IGNORED}


def test_padding_has_no_loss() -> None:
    # The padding token is also the end token, as with GPT-2: only its place tells them apart.
    end = 7
    short, long = Example((1, 2, 3, end), 2), Example((1, 2, 3, 4, 5, end), 3)
    batch = collate([(short,), (long,)], pad_id=end)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 7, 7, 7], [1, 2, 3, 4, 5, 7]]
    x = IGNORED
    assert batch["labels"].tolist() == [[x, x, 3, 7, x, x], [x, x, x, 4, 5, 7]]
    # It follows the tokens, which do not attend to what follows: no mask is needed.
    assert set(batch) == {"input_ids", "labels"}


def test_a_width_pads_further_and_a_filler_teaches_nothing() -> None:
    batch = collate([(Example((1, 2, 3), 1),)], pad_id=0, width=5)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3, IGNORED, IGNORED]]
    filler = collate([(Example((1, 2, 3), 1),)], pad_id=0, learn=False)
    assert filler["input_ids"].tolist() == [[1, 2, 3]]
    assert set(filler["labels"].flatten().tolist()) == {IGNORED}


def test_a_packed_row_keeps_its_sequences_apart() -> None:
    # The first token of the second sequence has no label: the first sequence would predict it.
    first, second, alone = Example((1, 2, 3), 1), Example((4, 5), 0), Example((6, 7, 8, 9), 2)
    batch = collate([(first, second), (alone,)], pad_id=0)
    x = IGNORED
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert batch["labels"].tolist() == [[x, 2, 3, x, 5], [x, x, 8, 9, x]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert set(batch) == {"input_ids", "labels", "position_ids"}


def tokenised(make_tokenizer: Any, max_seq_length: int) -> Any:
    split = Split((PAIR, PAIR), (PAIR,), "hash", "summary")
    return tokenise(split, TEMPLATES["llama-3"], make_tokenizer("llama-3-8b"), max_seq_length)


def test_pairs_without_room_for_an_answer_are_an_error_when_all_are(make_tokenizer: Any) -> None:
    sides = tokenised(make_tokenizer, 512)
    assert (len(sides.train), len(sides.evaluation), sides.without_room) == (2, 1, 0)
    prompt = sides.train[0].prompt_tokens
    with pytest.raises(StageError, match=rf"max_seq_length: {prompt} tokens hold no prompt"):
        tokenised(make_tokenizer, prompt)


def test_answers_that_are_all_cut_are_an_error(make_tokenizer: Any) -> None:
    whole = len(tokenised(make_tokenizer, 512).train[0].input_ids)
    assert len(tokenised(make_tokenizer, whole).train) == 2
    with pytest.raises(StageError, match="cut off the end of each of 2 answers"):
        tokenised(make_tokenizer, whole - 1)
