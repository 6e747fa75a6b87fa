import asyncio
import threading
from typing import Any

from medsweep.models.catalog import MODELS
from medsweep.serving.engines.model_names import TOKENISED_AT_ONCE, ModelNames
from medsweep.serving.protocol import Generation

BASE = "llama-3-8b"


class SlowTokenizer:
    """Takes until it is let go, and remembers its thread (fake)."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        self.threads.append(threading.current_thread())
        assert len(text) <= TOKENISED_AT_ONCE or self.go_on.wait(30)
        return {"input_ids": [1, 2]}

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [0 for _ in tokens]


async def test_a_long_prompt_is_tokenised_while_others_are_answered() -> None:
    """The attack: a prompt of a megabyte, which would stop every answer for a second."""
    tokenizer = SlowTokenizer()
    names = ModelNames(MODELS[BASE], tokenizer)
    long = Generation(BASE, None, "x" * (TOKENISED_AT_ONCE + 1), 1)
    first = asyncio.create_task(names.prompt_ids(long))
    while not tokenizer.threads:
        await asyncio.sleep(0)
    assert await names.prompt_ids(Generation(BASE, None, "x", 1)) == [1, 2]
    assert not first.done()
    tokenizer.go_on.set()
    assert await first == [1, 2]
    here = threading.current_thread()
    assert [thread is here for thread in tokenizer.threads] == [False, True]


def test_tokens_are_those_of_the_tokenizer_called() -> None:
    """A million characters took 2 s and stopped other threads for up to 0.7 s of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"[UNK]": 0, "fever": 1, "and": 2}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.enable_truncation(4)  # a tokenizer.json may ask for it
    backend.enable_padding(length=8)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    names = ModelNames(MODELS[BASE], tokenizer)
    text = "fever and cough " * 10
    ids = asyncio.run(names.prompt_ids(Generation(BASE, None, text, 1)))
    assert ids == [1, 2, 0] * 10 == tokenizer(text, add_special_tokens=False)["input_ids"]
