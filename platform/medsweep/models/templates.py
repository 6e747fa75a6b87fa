"""Prompt templates: how a conversation becomes the text that a model continues.

They are written in Jinja, as the tokenizers of transformers carry them: what MedSweep trains on and
serves is what `tokenizer.apply_chat_template` of an adapter's own tokenizer writes.

A rendered prompt holds the model's own special tokens, BOS among them where its format has one, so
it is tokenised with `add_special_tokens=False`. It ends where the assistant's answer begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypedDict

from medsweep.errors import InputError
from medsweep.table import NamedTable

if TYPE_CHECKING:
    import jinja2

PAPER_INSTRUCTION = "Answer the question truthfully, you are a medical professional."
"""The instruction of the paper (its table 5); the Alpaca template's own where none is given."""


class Message(TypedDict):
    """One message of a conversation, as in OpenAI's API."""

    role: Literal["system", "user", "assistant"]
    content: str


def conversation(question: str, instruction: str | None = PAPER_INSTRUCTION) -> list[Message]:
    """Return the messages that ask one question, in training and in measurements alike.

    Args:
        question: the user's message.
        instruction: the system message before it; None sends none.
    """
    system: list[Message] = [{"role": "system", "content": instruction}] if instruction else []
    return [*system, {"role": "user", "content": question}]


SHOWN_ROLES = 10
"""Roles of messages that an error names; a client may send thousands."""


@dataclass(frozen=True)
class Template:
    """One prompt template.

    Attributes:
        name: its name in `TEMPLATES`.
        answer_prefix: text between a prompt and the answer in training data.
        answer_suffix: text that ends an answer.
        jinja: Jinja source, given `messages` and `add_generation_prompt`.
    """

    name: str
    answer_prefix: str
    answer_suffix: str
    jinja: str

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt, up to where the assistant's answer begins.

        Args:
            messages: at most one system message, then alternating user and assistant messages,
                ending with a user message.

        Raises:
            InputError: the messages are in another order.
        """
        _check_order([message["role"] for message in messages])
        return _compiled(self.jinja).render(messages=messages, add_generation_prompt=True)

    def answer(self, text: str) -> str:
        """Return an answer as it follows its prompt in training data."""
        return f"{self.answer_prefix}{text.strip()}{self.answer_suffix}"


@cache
def _compiled(source: str) -> jinja2.Template:
    """Return a template, compiled in the environment that transformers uses."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source)


def _check_order(roles: Sequence[str]) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user" if place % 2 == 0 else "assistant" for place in range(len(turns))]
    if turns != expected or len(turns) % 2 == 0:
        shown = [*roles[:SHOWN_ROLES], "..."] if len(roles) > SHOWN_ROLES else roles
        raise InputError(
            "messages must be an optional system message, then alternating user and assistant "
            f"messages, ending with a user message; given: {', '.join(shown) or 'none'}"
        )


# `system` is the trimmed system message, or false; the loop is over the other messages.
_SYSTEM = """\
{%- set system = messages[0]['role'] == 'system' and messages[0]['content'] | trim -%}
"""
_TURNS = "{%- for message in messages if message['role'] != 'system' -%}"

_ALPACA = (
    _SYSTEM
    + r"{{- '### Instruction:\n' + (system or 'INSTRUCTION') + '\n\n' -}}".replace(
        "INSTRUCTION", PAPER_INSTRUCTION
    )
    + _TURNS
    + r"""
  {%- if message['role'] == 'user' -%}
    {{- '### Input:\n' + message['content'] | trim + '\n\n' -}}
  {%- else -%}
    {{- '### Response:\n' + message['content'] | trim + '<|endoftext|>\n\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Response:\n' -}}{%- endif -%}
"""
)

# Gemma has no system role: the system message stands before the first question.
_GEMMA = (
    _SYSTEM
    + "{{- '<bos>' -}}"
    + _TURNS
    + r"""
  {%- if message['role'] == 'user' -%}
    {{- '<start_of_turn>user\n' + (system + '\n\n' if system and loop.first else '') -}}
  {%- else -%}
    {{- '<start_of_turn>model\n' -}}
  {%- endif -%}
  {{- message['content'] | trim + '<end_of_turn>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}
"""
)

_LLAMA_3 = r"""
{{- '<|begin_of_text|>' -}}
{%- for message in messages -%}
  {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}
  {{- message['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%}
"""

# The space after `<s>` is SentencePiece's: Meta's own code encodes each turn as a text of its own,
# with a space before it; transformers 5 puts one before the whole prompt only.
_LLAMA_2 = (
    _SYSTEM
    + _TURNS
    + r"""
  {%- if message['role'] == 'user' -%}
    {{- '<s> [INST] ' -}}
    {{- '<<SYS>>\n' + system + '\n<</SYS>>\n\n' if system and loop.first else '' -}}
    {{- message['content'] | trim + ' [/INST]' -}}
  {%- else -%}
    {{- ' ' + message['content'] | trim + ' </s>' -}}
  {%- endif -%}
{%- endfor -%}
"""
)

# Mistral's system message stands before the last question, also where its answer follows.
_MISTRAL = (
    _SYSTEM
    + "{{- '<s>' -}}"
    + _TURNS
    + r"""
  {%- if message['role'] == 'user' -%}
    {{- '[INST] ' + (system + '\n\n' if system and loop.revindex <= 2 else '') -}}
    {{- message['content'] | trim + '[/INST]' -}}
  {%- else -%}
    {{- ' ' + message['content'] | trim + '</s>' -}}
  {%- endif -%}
{%- endfor -%}
"""
)

# SmolLM2's own system message where the conversation has none.
_CHATML = r"""
{%- if messages[0]['role'] != 'system' -%}
  {{- '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face' -}}
  {{- '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

# Sources: the chat template published with each model's tokenizer; for DistilGPT2, which has none,
# Alpaca's section headings. Llama 2 and Mistral write a space between the prompt and the answer. It
# belongs to the answer: SentencePiece joins it to the first word.
TEMPLATES = NamedTable(
    "prompt template",
    (
        Template("alpaca", "", "<|endoftext|>", _ALPACA),
        Template("gemma", "", "<end_of_turn>", _GEMMA),
        Template("llama-3", "", "<|eot_id|>", _LLAMA_3),
        Template("llama-2", " ", " </s>", _LLAMA_2),
        Template("mistral", " ", "</s>", _MISTRAL),
        Template("chatml", "", "<|im_end|>", _CHATML),
    ),
)
