import itertools
import json
import timeit
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from medsweep.errors import InputError, UnknownName
from medsweep.models.templates import PAPER_INSTRUCTION, TEMPLATES, Message


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


ONE = [user("What is anaemia?")]
MANY = [system(" Be brief. "), *ONE, assistant("Low haemoglobin."), user("And why?")]

# Llama 3: output of the chat template that its tokenizer carries, for the same messages. SmolLM2:
# output of the chat template in its GGUF file. Gemma, Llama 2, Mistral v0.3: read off their
# published chat templates (Llama 2 with the space of Meta's encoding; see test_template_tokens.py).
# Alpaca: its section headings, with the paper's instruction.
EXPECTED = [
    (
        "alpaca",
        ONE,
        "### Instruction:\nAnswer the question truthfully, you are a medical professional.\n\n"
        "### Input:\nWhat is anaemia?\n\n### Response:\n",
    ),
    (
        "alpaca",
        MANY,
        "### Instruction:\nBe brief.\n\n"
        "### Input:\nWhat is anaemia?\n\n### Response:\nLow haemoglobin.<|endoftext|>\n\n"
        "### Input:\nAnd why?\n\n### Response:\n",
    ),
    (
        "gemma",
        ONE,
        "<bos><start_of_turn>user\nWhat is anaemia?<end_of_turn>\n<start_of_turn>model\n",
    ),
    (
        "gemma",
        MANY,
        "<bos><start_of_turn>user\nBe brief.\n\nWhat is anaemia?<end_of_turn>\n"
        "<start_of_turn>model\nLow haemoglobin.<end_of_turn>\n"
        "<start_of_turn>user\nAnd why?<end_of_turn>\n<start_of_turn>model\n",
    ),
    (
        "llama-3",
        ONE,
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is anaemia?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    (
        "llama-3",
        MANY,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhat is anaemia?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nLow haemoglobin.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nAnd why?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    ("llama-2", ONE, "<s> [INST] What is anaemia? [/INST]"),
    (
        "llama-2",
        MANY,
        "<s> [INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhat is anaemia? [/INST] Low haemoglobin. </s>"
        "<s> [INST] And why? [/INST]",
    ),
    ("mistral", ONE, "<s>[INST] What is anaemia?[/INST]"),
    (
        "mistral",
        MANY,
        "<s>[INST] What is anaemia?[/INST] Low haemoglobin.</s>[INST] Be brief.\n\nAnd why?[/INST]",
    ),
    (
        "chatml",
        ONE,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is anaemia?<|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        "chatml",
        MANY,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is anaemia?<|im_end|>\n"
        "<|im_start|>assistant\nLow haemoglobin.<|im_end|>\n<|im_start|>user\nAnd why?<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
]


def test_every_template_is_tried_with_and_without_a_system_message() -> None:
    assert len(TEMPLATES) == 6
    assert [name for name, _, _ in EXPECTED] == [name for name in TEMPLATES for _ in range(2)]


@pytest.mark.parametrize(("name", "messages", "prompt"), EXPECTED)
def test_render(name: str, messages: list[Message], prompt: str) -> None:
    assert TEMPLATES[name].render(messages) == prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_trained_answer_is_what_the_history_holds(name: str) -> None:
    template = TEMPLATES[name]
    if name == "mistral":  # whose system message stands before the last question only
        first, later = template.render(ONE), template.render(MANY[1:])
    else:
        first, later = template.render(MANY[:2]), template.render(MANY)
    assert later.startswith(first + template.answer("  Low haemoglobin. "))


BAD_ORDERS = [
    [],
    [system("s")],
    [user("a"), user("b")],
    [user("a"), assistant("b")],
    [assistant("a"), user("b")],
    [user("a"), system("s"), user("b")],
]


@pytest.mark.parametrize("messages", BAD_ORDERS)
def test_messages_out_of_order_are_refused(messages: list[Message]) -> None:
    with pytest.raises(InputError, match="alternating"):
        TEMPLATES["chatml"].render(messages)


def test_the_refusal_does_not_repeat_what_was_said() -> None:
    with pytest.raises(InputError) as caught:
        TEMPLATES["gemma"].render([user("a secret"), user("b")])
    assert "secret" not in str(caught.value)
    assert "user, user" in str(caught.value)


def test_a_miss_lists_the_known_templates() -> None:
    with pytest.raises(UnknownName, match="did you mean 'llama-3'"):
        TEMPLATES["llama3"]


def conversations() -> list[list[Message]]:
    """Up to three questions, with and without a system message."""
    turns = [user(" Why? "), assistant("So.\n"), user("How?"), assistant("Thus."), user("When?")]
    return [
        [*([system(" Be brief. ")] if with_system else []), *turns[:length]]
        for with_system, length in itertools.product((False, True), (1, 3, 5))
    ]


def jinja(name: str, messages: list[Message], *, asks: bool) -> str:
    """Render as transformers does (transformers.utils.chat_template_utils)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATES[name].jinja)
    return template.render(messages=messages, add_generation_prompt=asks)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_those_of_an_implementation_in_python(name: str) -> None:
    """`prompts.json` was recorded from one, which has been deleted since."""
    expected = json.loads((Path(__file__).parent / "prompts.json").read_text())[name]
    assert len(expected) == 6
    for messages, prompt in zip(conversations(), expected, strict=True):
        assert TEMPLATES[name].render(messages) == prompt
        stripped = [{**message, "content": message["content"].strip()} for message in messages]
        assert TEMPLATES[name].render(stripped) == prompt
        assert jinja(name, messages, asks=True) == prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_training_text_is_the_conversation_with_its_answer(name: str) -> None:
    messages = [system(PAPER_INSTRUCTION), user("Why?")]
    text = TEMPLATES[name].render(messages) + TEMPLATES[name].answer("So.")
    written = jinja(name, [*messages, assistant("So.")], asks=False)
    # Some formats close a turn with a line end, which a model never has to write.
    assert written.rstrip("\n") == text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_compiled_once(name: str) -> None:
    def fastest(act: Callable[[], object]) -> float:
        return min(timeit.repeat(act, number=1, repeat=50))

    compiled = fastest(lambda: ImmutableSandboxedEnvironment().from_string(TEMPLATES[name].jinja))
    assert fastest(lambda: TEMPLATES[name].render(MANY)) < compiled / 20


def test_the_refusal_of_many_messages_is_short() -> None:
    with pytest.raises(InputError) as refused:
        TEMPLATES["chatml"].render([user("x")] * 25_000)
    assert str(refused.value).endswith(", user, ...")
    assert len(str(refused.value)) < 300
