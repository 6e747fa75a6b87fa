"""Templates token by token, with the real tokenizers that `tests/fetch_tokenizers.py` fetches."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from medsweep.models.templates import PAPER_INSTRUCTION, TEMPLATES, Message

FOLDER = Path(os.environ.get("MEDSWEEP_TOKENIZERS", Path(__file__).parents[2] / "tokenizers"))

ASKED: list[Message] = [
    {"role": "system", "content": PAPER_INSTRUCTION},
    {"role": "user", "content": "What is anaemia?"},
]
HISTORY: list[Message] = [
    *ASKED,
    {"role": "assistant", "content": "Low haemoglobin."},
    {"role": "user", "content": "And why?"},
]

TEMPLATE_OF = {"gpt2": "alpaca", "gemma": "gemma", "llama3": "llama-3", "smollm2": "chatml"}


@cache
def tokenizer(name: str) -> Any:
    if not (FOLDER / name / "tokenizer.json").is_file():
        message = f"tokenizer {name} is not in {FOLDER}: run tests/fetch_tokenizers.py"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
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
        ("smollm2", "<|im_end|>", 2),
        ("smollm2", "<|endoftext|>", 0),
    ],
)
def test_stop_tokens_are_one_token(name: str, token: str, number: int) -> None:
    assert ids(name, token) == [number]


@pytest.mark.parametrize("template", ["llama-2", "mistral"])
def test_sentencepiece_joins_the_space_to_the_answer(template: str) -> None:
    # The package called llama2 holds a SentencePiece vocabulary with Llama 2's special tokens, but
    # Mistral 7B v0.1's words ("[INST]" is 733 16289 28793): its ids say nothing of Llama 2, the
    # joints between special tokens, prompt and answer do.
    tokens = tokenizer("llama2")
    prompt = TEMPLATES[template].render(ASKED)
    answer = TEMPLATES[template].answer("Low haemoglobin.")
    both = ids("llama2", prompt + answer)
    assert both == ids("llama2", prompt) + ids("llama2", answer)
    assert (both[0], both[-1]) == (1, 2)
    assert both.count(1) == both.count(2) == 1
    assert tokens.convert_ids_to_tokens(ids("llama2", answer))[0] == "\u2581Low"
