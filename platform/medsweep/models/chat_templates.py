"""The prompt templates once more, in Jinja: what an adapter's tokenizer carries.

With it `tokenizer.apply_chat_template` of plain transformers writes the very prompts that the
adapter was trained on. That they agree with `templates.py` is tested.
"""

from __future__ import annotations

from collections.abc import Mapping

from medsweep.models.templates import PAPER_INSTRUCTION

# `system` is the system message or false, `spoken` the messages after it.
_TAKE_APART = (
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set system = messages[0]['content'] | trim -%}{%- set spoken = messages[1:] -%}"
    "{%- else -%}{%- set system = false -%}{%- set spoken = messages -%}{%- endif -%}"
)
_PER_MESSAGE = "{%- for message in spoken -%}{%- set text = message['content'] | trim -%}"
_IF_USER = "{%- if message['role'] == 'user' -%}"
_ELSE, _END_IF, _END_FOR = "{%- else -%}", "{%- endif -%}", "{%- endfor -%}"


def _write(expression: str) -> str:
    return "{{- " + expression + " -}}"


def _then_answer(expression: str) -> str:
    return "{%- if add_generation_prompt -%}" + _write(expression) + _END_IF


def _alternating(start: str, user: str, assistant: str, generation: str | None) -> str:
    """Return a template of text before all, per user message, per answer, and before an answer."""
    parts = (_TAKE_APART, start, _PER_MESSAGE, _IF_USER, _write(user), _ELSE, _write(assistant))
    end = _then_answer(generation) if generation else ""
    return "".join((*parts, _END_IF, _END_FOR, end))


def _alike(start: str, opening: str, closing: str, generation: str) -> str:
    """Return a template that treats all roles alike."""
    turn = f"{opening} + text + {closing}"
    return "".join(
        (start, _PER_MESSAGE, _write(turn), _END_FOR, _then_answer(generation)),
    )


CHAT_TEMPLATES: Mapping[str, str] = {
    "alpaca": _alternating(
        _write(rf"'### Instruction:\n' + (system or '{PAPER_INSTRUCTION}') + '\n\n'"),
        r"'### Input:\n' + text + '\n\n'",
        r"'### Response:\n' + text + '<|endoftext|>\n\n'",
        r"'### Response:\n'",
    ),
    "gemma": _alternating(
        _write("'<bos>'"),
        r"'<start_of_turn>user\n' + (system + '\n\n' if system and loop.first else '') + text"
        r" + '<end_of_turn>\n'",
        r"'<start_of_turn>model\n' + text + '<end_of_turn>\n'",
        r"'<start_of_turn>model\n'",
    ),
    "llama-3": _alike(
        "{%- set spoken = messages -%}" + _write("'<|begin_of_text|>'"),
        r"'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'",
        "'<|eot_id|>'",
        r"'<|start_header_id|>assistant<|end_header_id|>\n\n'",
    ),
    "llama-2": _alternating(
        "",
        r"'<s> [INST] ' + ('<<SYS>>\n' + system + '\n<</SYS>>\n\n' if system and loop.first"
        r" else '') + text + ' [/INST]'",
        "' ' + text + ' </s>'",
        None,
    ),
    # The system message stands before the last question, also where its answer follows.
    "mistral": _alternating(
        _write("'<s>'"),
        r"'[INST] ' + (system + '\n\n' if system and loop.revindex <= 2 else '') + text"
        r" + '[/INST]'",
        "' ' + text + '</s>'",
        None,
    ),
    "chatml": _alike(
        "{%- set spoken = messages -%}{%- if messages[0]['role'] != 'system' -%}"
        + _write(
            r"'<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
            r"Hugging Face<|im_end|>\n'"
        )
        + _END_IF,
        r"'<|im_start|>' + message['role'] + '\n'",
        r"'<|im_end|>\n'",
        r"'<|im_start|>assistant\n'",
    ),
}
"""Jinja source by name of the template."""
