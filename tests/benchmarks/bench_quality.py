"""What grading costs: 10,000 pairs of MedQuAD's lengths, by us and by the programs that we equal.

The `evaluate` package downloads a script for each of its metrics. Without a hub these cannot be
had, so the peer here is what the scripts call, in the way they call it: rouge-score's
`RougeScorer.score` a pair, `sacrebleu.corpus_bleu`, and SQuAD's script. BLEU of each answer, which
`evaluate` has no metric for, is timed apart.
"""

from __future__ import annotations

import random
import re
import resource
import string
import time
from collections import Counter
from collections.abc import Callable
from importlib import resources

import pytest

from medsweep.metrics.tally import AnswerTally

PAIRS = 10_000
PEER_PAIRS = 2_000
MEDIAN_WORDS, SPREAD = 138, 0.9
"""Of MedQuAD's answers: median, and standard deviation of the logarithm."""


def texts(count: int) -> list[tuple[str, str]]:
    """Answers and references with MedQuAD's lengths, made of the embedded corpus's words.

    Half of an answer's words are its reference's, in runs, as a fine-tuned model's are.
    """
    rng = random.Random(1)
    folder = resources.files("medsweep.datasets.embedded")
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    ordered = sorted(files, key=lambda file: file.name)
    words = [word for file in ordered for word in file.read_text("utf-8").split()]
    pairs = []
    for _ in range(count):
        length = min(max(int(rng.lognormvariate(0, SPREAD) * MEDIAN_WORDS), 1), 4281)
        start = rng.randrange(len(words))
        reference = (words * 2)[start : start + length]
        answer: list[str] = []
        while len(answer) < length:
            source = reference if rng.random() < 0.5 else words
            place = rng.randrange(len(source))
            answer += source[place : place + rng.randrange(1, 8)]
        pairs.append((" ".join(answer), " ".join(reference)))
    return pairs


@pytest.mark.timeout(1800)
def test_grading_against_the_programs_it_equals() -> None:
    pairs = texts(PAIRS)
    lengths = sorted(len(reference.split()) for _, reference in pairs)
    some = pairs[:: PAIRS // PEER_PAIRS]
    print(f"\n{PAIRS} pairs, median {lengths[PAIRS // 2]} words, CPU seconds on one core")
    ours_all(some)  # imports, and what is remembered of words
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = timed(lambda: ours_all(pairs))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{ours:7.1f} s  all figures, corpus BLEU, groups, intervals; {grown:.0f} MiB more memory"
    )
    print(f"the programs, on every {PAIRS // PEER_PAIRS}th pair, times {PAIRS // PEER_PAIRS}:")
    peers = {
        "rouge-score, 1, 2 and L": rouge_score,
        "sacrebleu, corpus": corpus_bleu,
        "SQuAD's script": squad_script,
        "sacrebleu, every answer": sentence_bleu,
    }
    took = {}
    for name, peer in peers.items():
        took[name] = timed(lambda peer=peer: peer(some)) * PAIRS / PEER_PAIRS
        print(f"{took[name]:7.1f} s  {name}")
    every = sum(took.values())
    as_evaluate = every - took["sacrebleu, every answer"]
    print(f"as evaluate has it: {as_evaluate / ours:.1f} times our time;", end=" ")
    print(f"with BLEU of every answer: {every / ours:.1f} times")


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def ours_all(pairs: list[tuple[str, str]]) -> None:
    tally = AnswerTally()
    for answer, reference in pairs:
        tally.add(answer, reference)
    assert tally.figures(seed=1)
    assert tally.breakdown(seed=1)
    assert tally.corpus_bleu


def rouge_score(pairs: list[tuple[str, str]]) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    for answer, reference in pairs:
        scorer.score(reference, answer)


def corpus_bleu(pairs: list[tuple[str, str]]) -> None:
    import sacrebleu

    sacrebleu.corpus_bleu([answer for answer, _ in pairs], [[truth for _, truth in pairs]])


def sentence_bleu(pairs: list[tuple[str, str]]) -> None:
    from sacrebleu.metrics import BLEU

    scorer = BLEU(effective_order=True)
    for answer, reference in pairs:
        scorer.sentence_score(answer, [reference])


def squad_script(pairs: list[tuple[str, str]]) -> None:
    """Exact match and F1 in the steps of SQuAD's script, each of which normalises anew."""
    for answer, reference in pairs:
        said, wanted = squad_normalise(answer).split(), squad_normalise(reference).split()
        common = (Counter(said) & Counter(wanted)).total()
        assert 0 <= 2 * common / (len(said) + len(wanted)) <= 1
        assert isinstance(squad_normalise(answer) == squad_normalise(reference), bool)


def squad_normalise(text: str) -> str:
    excluded = set(string.punctuation)
    bare = "".join(letter for letter in text.lower() if letter not in excluded)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())
