"""The tokenizer that an adapter carries: the base's, with the template and the stop tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from medsweep.models.templates import TEMPLATES

FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
)
"""What a tokenizer of transformers may consist of, besides its configuration."""


def save_tokenizer(base: Path, folder: Path, *, template: str, stop_tokens: Sequence[str]) -> None:
    """Copy the base's tokenizer, with the adapter's template as its chat template.

    Args:
        base: folder of the base model.
        folder: of the adapter.
        template: name of the prompt template.
        stop_tokens: special tokens that end an answer; their ids go to `generation_config.json`.
    """
    for name in FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    config = base / "tokenizer_config.json"
    if config.is_file():
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings.pop("chat_template", None)  # another one than the adapter was trained with
        (folder / config.name).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATES[template].jinja, encoding="utf-8")
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        ids = [tokenizer.token_to_id(token) for token in stop_tokens]
        generation = {"eos_token_id": [number for number in ids if number is not None]}
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
