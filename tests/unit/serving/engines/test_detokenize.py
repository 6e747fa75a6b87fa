import random
from collections.abc import Sequence

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from medsweep.serving.engines.detokenize import TextStream

UNFINISHED = "\N{REPLACEMENT CHARACTER}"

TEXT = (
    "Dose: 5 \u00b5g \u2265 1 \u20ac, \u4e2d\u6587, \U0001f9ec\U0001f48a.\n\n"
    "End \U0001f469\u200d\u2695\ufe0f"
)


def byte_level() -> Tokenizer:
    """One token a byte, as GPT-2 and Llama 3 have for rare characters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_fallback(*words: str) -> Tokenizer:
    """One token a byte, as Llama 2, Gemma and Mistral have for rare characters."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocabulary |= {word: 256 + number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


TOKENIZERS = {"byte level": byte_level, "byte fallback": byte_fallback}


def of_words(*words: str) -> Tokenizer:
    """One token for each word of the list."""
    tokenizer = Tokenizer(models.WordLevel({f"{n} {word}": n for n, word in enumerate(words)}, ""))
    tokenizer.decoder = decoders.Sequence([decoders.Replace(Regex(r"^\d+ "), ""), decoders.Fuse()])
    return tokenizer


def streamed(words: Sequence[str], *stop: str) -> tuple[list[str], TextStream]:
    """Push words until the last of them or a stop text; return the pieces."""
    stream, pieces = TextStream(of_words(*words), stop), []
    for token in range(len(words)):
        pieces.append(stream.push(token, last=token == len(words) - 1))
        if stream.stopped:
            break
    return pieces, stream


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_never_half_a_character(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    ids = tokenizer.encode(TEXT).ids
    assert len(ids) == len(TEXT.encode())
    stream = TextStream(tokenizer)
    pieces = [stream.push(token, last=n == len(ids)) for n, token in enumerate(ids, start=1)]
    assert not any(UNFINISHED in piece for piece in pieces)
    assert "".join(pieces) == TEXT
    assert stream.tokens == len(ids)
    # Not all at the end either: a character comes with its last byte.
    assert len([piece for piece in pieces if piece]) == len(TEXT)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("seed", range(10))
def test_the_pieces_are_the_text_whatever_the_bytes(kind: str, seed: int) -> None:
    tokenizer, chance = TOKENIZERS[kind](), random.Random(seed)
    ids = tokenizer.encode(TEXT).ids
    cut = [token for token in ids if chance.random() > 0.2]
    stream = TextStream(tokenizer)
    joined = "".join(stream.push(token, last=n == len(cut)) for n, token in enumerate(cut, 1))
    if kind == "byte level":
        assert joined == tokenizer.decode(cut, skip_special_tokens=True)
    else:
        # What was returned stays, and each byte from the first invalid one on is a mark.
        text = joined.rstrip(UNFINISHED)
        assert text == bytes(cut)[: len(text.encode())].decode()
        assert len(text.encode()) + len(joined) - len(text) == len(cut)


def test_bytes_that_are_no_text_are_marks_and_the_words_behind_them_come() -> None:
    tokenizer = byte_fallback(" and", " more")
    ids = [*"\u20ac".encode(), 0xE2, 256, *"\u20ac".encode(), 257]
    stream = TextStream(tokenizer)
    pieces = [stream.push(token, last=n == len(ids)) for n, token in enumerate(ids, start=1)]
    assert pieces == ["", "", "\u20ac", "", f"{UNFINISHED} and", "", "", "\u20ac", " more"]


@pytest.mark.parametrize("last", ["<|end|>", " dose"])
def test_special_tokens_have_no_text(last: str) -> None:
    tokenizer = of_words("A", " dose")
    tokenizer.add_special_tokens(["<|end|>"])
    stream = TextStream(tokenizer)
    ids = [0, tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id(last) or 1]
    text = "".join(stream.push(token, last=n == 3) for n, token in enumerate(ids, start=1))
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert stream.tokens == 3


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_long_answer_holds_back_no_more_than_a_character(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    ids = tokenizer.encode(f" {TEXT * 20}").ids
    stream, pieces, held = TextStream(tokenizer, ["never said"]), [], []
    for number, token in enumerate(ids, start=1):
        pieces.append(stream.push(token, last=number == len(ids)))
        held.append(len(stream._incomplete))
    assert "".join(pieces) == TEXT * 20
    assert not any(UNFINISHED in piece for piece in pieces)
    assert max(held) == 3  # of the four bytes of an emoji


def test_a_tokenizer_that_drops_the_first_space() -> None:
    """Llama 2's and Mistral's way: what stands first in a decoding has no space before it."""
    words = [f"\N{LOWER ONE EIGHTH BLOCK}w{number}" for number in range(300)]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, words[0]))
    tokenizer.decoder = decoders.Metaspace()
    stream = TextStream(tokenizer)
    text = "".join(stream.push(token, last=token == 299) for token in range(300))
    assert text == " ".join(f"w{number}" for number in range(300))


def test_an_answer_cut_inside_a_character_shows_it() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("5 \u20ac").ids[:-1]
    stream = TextStream(tokenizer)
    assert [stream.push(token, last=n == 4) for n, token in enumerate(ids, 1)][-1] == UNFINISHED


def test_leading_white_space_is_left_out() -> None:
    assert streamed(["\n", " ", " Yes", ", ", "no"])[0] == ["", "", "Yes", ", ", "no"]


@pytest.mark.parametrize(
    ("words", "stops", "text"),
    [
        (["One.", "\n", "\n", "Two"], ["\n\n"], "One."),
        (["One. #", "## ", "Next"], ["###"], "One. "),
        (["One.", " ST", "OP", " more"], [" STOP"], "One."),
        (["a", "b", "c", "d"], ["cd", "bcd"], "a"),
        (["One STOP two"], ["STOP"], "One "),
        (["STOP"], ["STOP"], ""),
        (["5 ", "EN\u20ac", " more"], ["EN\u20ac"], "5 "),
    ],
)
def test_a_stop_text_is_never_given_out(words: list[str], stops: list[str], text: str) -> None:
    pieces, stream = streamed(words, *stops)
    assert "".join(pieces) == text
    assert stream.stopped


def test_the_beginning_of_a_stop_text_is_held_back_until_it_is_clear() -> None:
    pieces, stream = streamed(["One #", "#", " two #", "#"], "###")
    assert pieces == ["One ", "", "## two ", "##"]
    assert not stream.stopped


def test_a_stop_text_that_ends_inside_a_character_is_held_back() -> None:
    tokenizer = byte_level()
    stream = TextStream(tokenizer, ["EN\u20ac"])
    pieces = [stream.push(token) for token in tokenizer.encode("5 EN\u20ac").ids]
    assert "".join(pieces) == "5 "
    assert stream.stopped
