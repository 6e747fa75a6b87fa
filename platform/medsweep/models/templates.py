"""Prompt templates: how a conversation becomes the text that a model continues.

A rendered prompt holds the model's own special tokens, BOS among them where its format has one, so
it is tokenised with `add_special_tokens=False`. It ends where the assistant's answer begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from medsweep.errors import InputError
from medsweep.table import Table

PAPER_INSTRUCTION = "Answer the question truthfully, you are a medical professional."
"""The instruction of the paper (its table 5); the Alpaca template's own where none is given."""

# What SmolLM2's chat template says where a conversation has no system message.
_SMOLLM2_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


class Message(TypedDict):
    """One message of a conversation, as in OpenAI's API."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Dialogue:
    """A conversation that waits for its next answer.

    Attributes:
        system: the system message, or None.
        turns: finished turns, each a question and its answer.
        question: the question to answer now.
    """

    system: str | None
    turns: tuple[tuple[str, str], ...]
    question: str


@dataclass(frozen=True)
class Template:
    """One prompt template.

    Attributes:
        name: its name in `TEMPLATES`.
        answer_prefix: text between a prompt and the answer in training data.
        answer_suffix: text that ends an answer.
        write: turns a dialogue into the prompt.
    """

    name: str
    answer_prefix: str
    answer_suffix: str
    write: Callable[[Dialogue], str]

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt, up to where the assistant's answer begins.

        Args:
            messages: at most one system message, then user and assistant by turns, a user last.

        Raises:
            InputError: the messages are in another order.
        """
        return self.write(_dialogue(messages))

    def answer(self, text: str) -> str:
        """Return an answer as it follows its prompt in training data."""
        return f"{self.answer_prefix}{text.strip()}{self.answer_suffix}"


def _dialogue(messages: Sequence[Message]) -> Dialogue:
    """Take the messages apart; the templates then need no checks of their own."""
    roles = [message["role"] for message in messages]
    texts = [message["content"].strip() for message in messages]
    system = texts.pop(0) if roles[:1] == ["system"] else None
    spoken = roles[1:] if system is not None else roles
    expected = ["user" if place % 2 == 0 else "assistant" for place in range(len(spoken))]
    if spoken != expected or len(spoken) % 2 == 0:
        raise InputError(
            "messages must be an optional system message, then user and assistant by turns, "
            f"ending with a user message; given: {', '.join(roles) or 'none'}"
        )
    return Dialogue(system, tuple(zip(texts[:-1:2], texts[1::2], strict=True)), texts[-1])


def _alpaca(dialogue: Dialogue) -> str:
    text = f"### Instruction:\n{dialogue.system or PAPER_INSTRUCTION}\n\n"
    for question, answer in dialogue.turns:
        text += f"### Input:\n{question}\n\n### Response:\n{answer}<|endoftext|>\n\n"
    return f"{text}### Input:\n{dialogue.question}\n\n### Response:\n"


def _gemma(dialogue: Dialogue) -> str:
    # Gemma has no system role: it goes before the first question.
    lead = f"{dialogue.system}\n\n" if dialogue.system else ""
    text = "<bos>"
    for question, answer in dialogue.turns:
        text += f"<start_of_turn>user\n{lead}{question}<end_of_turn>\n"
        text += f"<start_of_turn>model\n{answer}<end_of_turn>\n"
        lead = ""
    return (
        f"{text}<start_of_turn>user\n{lead}{dialogue.question}<end_of_turn>\n<start_of_turn>model\n"
    )


def _llama_3(dialogue: Dialogue) -> str:
    def turn(role: str, content: str) -> str:
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"

    text = "<|begin_of_text|>" + _in_turn(dialogue, dialogue.system, turn)
    return f"{text}<|start_header_id|>assistant<|end_header_id|>\n\n"


def _llama_2(dialogue: Dialogue) -> str:
    # The space after `<s>` is SentencePiece's: Meta's own code encodes each turn as a text of its
    # own, with a space before it; transformers 5 puts one before the whole prompt only.
    lead = f"<<SYS>>\n{dialogue.system}\n<</SYS>>\n\n" if dialogue.system else ""
    text = ""
    for question, answer in dialogue.turns:
        text += f"<s> [INST] {lead}{question} [/INST] {answer} </s>"
        lead = ""
    return f"{text}<s> [INST] {lead}{dialogue.question} [/INST]"


def _mistral(dialogue: Dialogue) -> str:
    # Mistral puts the system message before the last question, not the first.
    lead = f"{dialogue.system}\n\n" if dialogue.system else ""
    turns = "".join(f"[INST] {ask}[/INST] {answer}</s>" for ask, answer in dialogue.turns)
    return f"<s>{turns}[INST] {lead}{dialogue.question}[/INST]"


def _chatml(dialogue: Dialogue) -> str:
    def turn(role: str, content: str) -> str:
        return f"<|im_start|>{role}\n{content}<|im_end|>\n"

    system = dialogue.system if dialogue.system is not None else _SMOLLM2_SYSTEM
    return f"{_in_turn(dialogue, system, turn)}<|im_start|>assistant\n"


def _in_turn(dialogue: Dialogue, system: str | None, turn: Callable[[str, str], str]) -> str:
    """Write every message of the dialogue, for templates that treat all roles alike."""
    parts = [turn("system", system)] if system is not None else []
    for question, answer in dialogue.turns:
        parts += [turn("user", question), turn("assistant", answer)]
    return "".join([*parts, turn("user", dialogue.question)])


# Sources: the chat template published with each model's tokenizer; for DistilGPT2, which has none,
# Alpaca's section headings. Llama 2 and Mistral write a space between the prompt and the answer. It
# belongs to the answer: SentencePiece joins it to the first word.
TEMPLATES = Table(
    "prompt template",
    (
        Template("alpaca", "", "<|endoftext|>", _alpaca),
        Template("gemma", "", "<end_of_turn>", _gemma),
        Template("llama-3", "", "<|eot_id|>", _llama_3),
        Template("llama-2", " ", " </s>", _llama_2),
        Template("mistral", " ", "</s>", _mistral),
        Template("chatml", "", "<|im_end|>", _chatml),
    ),
)
