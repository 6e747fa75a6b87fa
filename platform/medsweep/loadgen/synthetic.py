"""Prompts of given lengths in tokens, as the server itself counts them.

A tokenizer is not needed: the server's `usage` says how many tokens its template takes and how many
a word has, and after the load whether the lengths came out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

from medsweep.errors import InputError
from medsweep.loadgen.spec import Prompt

MOST_PROMPTS = 4096
"""Distinct prompts of a load; beyond it they repeat."""

_MOST_TOKENS = 1_000_000
# Words of the two prompts whose token counts give the template's tokens and those of a word.
_PROBES = (16, 272)
# A normal distribution has its bounds at this many standard deviations, and is cut there.
_SIGMAS = 3.0

# Short and common, so that nearly all tokenizers have each of them, after a space, as one token.
_COMMON = """
about above after again all also always and another any area around ask away back bad base be become
before begin behind being best better between big black blue body book both box boy bring build
business but buy by call came can car care carry case cause change child city clear close cold come
common complete could country course cut dark day deep did different do does done door down draw dry
early earth east easy eat end enough even ever every example eye face fact fall family far farm fast
father feel feet few field fill final find fine fire first fish five fly follow food foot for force
form found four free friend from front full game gave get girl give go gold good green ground group
grow had half hand hard has have he head hear heart heat help her here high him his hold home hot
hour house how hundred idea if in inch interest is island it just keep kind king knew know land
language large last late laugh lay lead learn leave left less let letter life light like line list
listen little live long look love low machine made main make man many map mark may mean measure men
might mile mind minute miss money moon more morning most mother mountain move much music must my
name near need never new next night no north note nothing notice now number object of off often oh
old on once one only open or order other our out over own page paper part pass people
"""
_WORDS = tuple(_COMMON.split())


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths in tokens.

    Attributes:
        low: shortest.
        high: longest.
        shape: `uniform` or `normal`; the same if both bounds are equal.
    """

    low: int
    high: int
    shape: str = "uniform"

    @classmethod
    def parse(cls, option: str, text: str) -> Lengths:
        """Return what `512`, `128..1024` or `128..1024:normal` means.

        Args:
            option: that it was given to, for the message.
            text: the distribution.

        Raises:
            InputError: it is none.
        """
        match = re.fullmatch(r"(\d{1,7})(?:\.\.(\d{1,7})(?::(uniform|normal))?)?", text.strip())
        if match is None:
            raise InputError(
                f"{option} {text}: write 512, 128..1024 (uniform) or 128..1024:normal, in tokens"
            )
        low, high = int(match[1]), int(match[2] or match[1])
        if not 1 <= low <= high <= _MOST_TOKENS:
            raise InputError(f"{option} {text}: ascending numbers from 1 to {_MOST_TOKENS}")
        return cls(low, high, match[3] or "uniform")

    def draw(self, rng: random.Random) -> int:
        """Return one length."""
        if self.shape == "uniform":
            return rng.randint(self.low, self.high)
        middle, sigma = (self.low + self.high) / 2, (self.high - self.low) / (2 * _SIGMAS)
        while not self.low <= (length := round(rng.gauss(middle, sigma))) <= self.high:
            pass
        return length


@dataclass(frozen=True)
class Tokens:
    """How a server counts: `template + per_word * words`.

    Attributes:
        template: tokens that its chat template adds to every prompt.
        per_word: tokens of a word.
    """

    template: float
    per_word: float

    @classmethod
    def measure(cls, count: Callable[[str], int], seed: int) -> Tokens:
        """Return how a server counts the words used here.

        Args:
            count: asks the server for the tokens of a prompt.
            seed: of the words.

        Raises:
            InputError: its counts do not grow with the prompt.
        """
        rng = random.Random(seed)  # noqa: S311 words, not secrets
        few, many = (count(_text(rng, words)) for words in _PROBES)
        per_word = (many - few) / (_PROBES[1] - _PROBES[0])
        if per_word <= 0:
            raise InputError(
                f"--input-tokens: the server counts {few} tokens for {_PROBES[0]} words and {many} "
                f"for {_PROBES[1]}, so prompts of given lengths cannot be made for it"
            )
        return cls(few - per_word * _PROBES[0], per_word)

    def words(self, tokens: int) -> int:
        """Return how many words make a prompt of that many tokens, template included.

        Raises:
            InputError: the template alone is longer.
        """
        words = round((tokens - self.template) / self.per_word)
        if words < 1:
            least = self.template + self.per_word
            raise InputError(
                f"--input-tokens {tokens}: the server's template alone takes {self.template:.0f} "
                f"tokens; ask for at least {least:.0f}"
            )
        return words


def make_prompts(
    tokens: Tokens, lengths: Lengths, answers: Lengths | None, *, count: int, seed: int
) -> tuple[Prompt, ...]:
    """Return prompts that differ from their first word on, so that no cache answers for the model.

    Args:
        tokens: how the server counts.
        lengths: of the prompts.
        answers: of the answers; None leaves them to the job's limit.
        count: how many.
        seed: of lengths and words.
    """
    rng = random.Random(seed + 1)  # noqa: S311 words, not secrets
    prompts = []
    for number in range(min(count, MOST_PROMPTS)):
        wanted = lengths.draw(rng)
        text = _text(rng, tokens.words(wanted))
        most = None if answers is None else answers.draw(rng)
        prompts.append(Prompt(f"synthetic-{number}-{wanted}", text, most))
    return tuple(prompts)


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


@dataclass
class LengthCheck:
    """What was requested and what the server counted, over all measured answers of a load test.

    Attributes:
        requested: tokens that each synthetic prompt should have.
        prompts: tokens that the server counted in it.
        limits: longest answer that each request allowed, in tokens.
        answers: tokens that the server counted in the answer.
    """

    requested: list[int] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def add(
        self, prompt: Prompt, prompt_tokens: int | None, limit: int, output_tokens: int | None
    ) -> None:
        """Add an answer; a count that the server did not give is left out."""
        if prompt_tokens is not None and prompt.question_id.startswith("synthetic-"):
            self.requested.append(int(prompt.question_id.rpartition("-")[2]))
            self.prompts.append(prompt_tokens)
        if output_tokens is not None:
            self.limits.append(limit)
            self.answers.append(output_tokens)

    def figures(self) -> dict[str, float | None]:
        """Return the means for JSON; None where the server did not count."""
        return {
            name: fmean(values) if values else None
            for name, values in (
                ("input_tokens_asked", self.requested),
                ("input_tokens_counted", self.prompts),
                ("output_tokens_asked", self.limits),
                ("output_tokens_counted", self.answers),
            )
        }

    def sentences(self) -> list[str]:
        """Return what the server counted, in words, and what that means where it is off."""
        return [
            *_sentence(
                "prompts", self.requested, self.prompts, "the server's tokenizer splits words"
            ),
            *_sentence("answers", self.limits, self.answers, "the model ends its answers earlier"),
        ]


def _sentence(what: str, requested: list[int], counted: list[int], reason: str) -> list[str]:
    if not counted:
        return [f"{what}: the server does not count their tokens, so their lengths are not known"]
    mean, wanted = fmean(counted), fmean(requested)
    off = "" if abs(mean - wanted) <= max(0.02 * wanted, 1) else f"; not as asked: {reason}"
    return [
        f"{what}: {wanted:.0f} tokens asked, {mean:.1f} counted by the server "
        f"({min(counted)} to {max(counted)}){off}"
    ]
