"""How a text is cut into tokens; each figure of quality has the rule of the program it comes from.

The rules are exact: tests compare them with the programs themselves. None of them looks beyond the
white space around a word, so a word is cut once and remembered: of a million answers no more than
`_WORDS` words are kept.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from itertools import chain

_WORDS = 2**14

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

# In a word with digits: what `ngram_tokens` keeps, beside letters and digits.
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_KEPT = re.compile(r"[<>≤≥%]|[-\u2212]?\d+(?:[.,:/\u2013-]\d+)*[^\W\d_]*|[^\W_]+")

_KEPT_ALONE = re.compile(r"^[<>≤≥%]=?$")

_NO_DIGITS = re.compile(r"\d+")
_ALPHANUMERIC = re.compile(r"[a-z0-9]+")

# mteval-v13a sets these symbols apart wherever they stand; period, comma and dash have rules below.
_SYMBOLS = str.maketrans({symbol: f" {symbol} " for symbol in '{|}~[\\]^_`!"#$%&()*+:;<=>?@/'})
_AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
_BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])-")


def squad_tokens(text: str) -> list[str]:
    """Return the tokens that SQuAD compares: lower case, no punctuation, no articles.

    Source: the evaluation script of SQuAD 1.1 (Rajpurkar et al. 2016).
    """
    return list(chain.from_iterable(map(_squad_pieces, text.lower().split())))


def ngram_tokens(text: str) -> list[str]:
    """Return the tokens of n-gram match: those of SQuAD, but numbers keep their punctuation.

    SQuAD reads 1.5 as 15, 2.0-3.0 as 2030 and <5 as 5.
    """
    return list(chain.from_iterable(map(_ngram_pieces, text.lower().split())))


def rouge_tokens(text: str) -> list[str]:
    """Return the tokens that rouge-score compares: runs of a-z and 0-9 in lower case, not stemmed.

    Stemming is off there by default too; Porter's rules are made for everyday English and fold
    medical terms together.
    """
    return _ALPHANUMERIC.findall(text.lower())


def is_beyond_rouge(text: str) -> bool:
    """Return whether ROUGE ignores most of a text: it has letters, and most are not a to z."""
    letters = sum(map(str.isalpha, text))
    seen = sum(len(_NO_DIGITS.sub("", run)) for run in rouge_tokens(text))
    return seen < letters / 2


def bleu_tokens(text: str) -> list[str]:
    """Return the tokens of sacrebleu's default tokeniser, `13a`.

    Source: mteval-v13a.pl of NIST, as sacrebleu 2.6 has it.
    """
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "")
    if "&" in line:
        for entity, symbol in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
            line = line.replace(entity, symbol)
    return list(chain.from_iterable(map(_bleu_pieces, line.split())))


@lru_cache(_WORDS)
def _squad_pieces(word: str) -> tuple[str, ...]:
    return tuple(_ARTICLES.sub(" ", word.translate(_PUNCTUATION)).split())


@lru_cache(_WORDS)
def _ngram_pieces(word: str) -> tuple[str, ...]:
    if word.isalpha() or not any(map(str.isdecimal, word)):
        return tuple(_KEPT_ALONE.findall(word)) or _squad_pieces(word)
    return tuple(_KEPT.findall(_THOUSANDS.sub("", word)))


@lru_cache(_WORDS)
def _bleu_pieces(word: str) -> tuple[str, ...]:
    if word.isalnum():
        return (word,)
    line = f" {word} ".translate(_SYMBOLS)
    line = _AFTER_NO_DIGIT.sub(r"\1 \2 ", line)
    line = _BEFORE_NO_DIGIT.sub(r" \1 \2", line)
    return tuple(_DASH_AFTER_DIGIT.sub(r"\1 - ", line).split())
