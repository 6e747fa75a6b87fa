"""Write Mistral's tokenizer v3, and how Mistral's own encoder encodes some conversations.

`fetch_tokenizers.py` runs it where mistral-common and sentencepiece can be imported; they are no
dependency of the tests, because mistral-common asks for an older numpy than MedSweep.
Usage: mistral_reference.py FOLDER.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

CONVERSATIONS = [
    [{"role": "user", "content": "What is anaemia?"}],
    [
        {"role": "system", "content": "Answer truthfully."},
        {"role": "user", "content": "What is anaemia?"},
    ],
    [
        {"role": "system", "content": "Be brief.\nBe kind."},
        {"role": "user", "content": "What are caf\u00e9-au-lait spots?"},
        {"role": "assistant", "content": "Flat, light-brown marks (1 to 20 cm)."},
        {"role": "user", "content": "And why?"},
    ],
    [
        {"role": "user", "content": "What is anaemia?"},
        {"role": "assistant", "content": "Low haemoglobin:\n\n- tiredness\n- pallor"},
        {"role": "user", "content": "In children?"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Is   it   serious?"},
    ],
]


def encoded() -> list[dict[str, object]]:
    """Return each conversation with its tokens, by mistral-common."""
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    tokenizer = MistralTokenizer.v3()
    return [
        {
            "messages": messages,
            "tokens": tokenizer.encode_chat_completion(
                ChatCompletionRequest(messages=messages)
            ).tokens,
        }
        for messages in CONVERSATIONS
    ]


def save_tokenizer(folder: Path) -> None:
    """Convert the SentencePiece model as transformers does for the hub's repository."""
    import mistral_common
    from transformers import AutoTokenizer

    data = Path(mistral_common.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as scratch:
        model = data / "mistral_instruct_tokenizer_240323.model.v3"
        shutil.copyfile(model, Path(scratch) / "tokenizer.model")
        settings = {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "extra_special_tokens": ["[INST]", "[/INST]"],
        }
        (Path(scratch) / "tokenizer_config.json").write_text(json.dumps(settings))
        AutoTokenizer.from_pretrained(scratch).save_pretrained(folder)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "encoded.json").write_text(json.dumps(encoded(), indent=1))
    save_tokenizer(target)
