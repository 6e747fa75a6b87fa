"""The beginning that prompts share: the same answers, and how much sooner they begin."""

from typing import Any

from gpu.device import GPU, NAME
from gpu.models import shaped, small
from gpu.report import Report
from gpu.serving import ask, opened

BEGINNING = "Answer the question about medicine in a few plain words. " * (30 if GPU else 3)
TOKENS = 24 if GPU else 6
ROWS = 16 if GPU else 4


def answers(report: Report) -> None:
    """Compare greedy answers in float32 with and without the keys and values that are kept."""
    for name in ("llama-3-8b", "distilgpt2") if GPU else ("llama-3-8b",):
        spec, folder = small(name)
        models = [spec.name, "a0", "a1", "a0"]
        texts, read = [], []
        for kept in (False, True):
            with opened(
                "continuous", spec, folder, dtype="float32", adapters=2, prefix_caching=kept
            ) as engine:
                count = _counted(engine)
                for number in range(2):  # what two prompts of a model share is kept
                    ask(engine, models[:3], 1, words=12, first=number, beginning=BEGINNING[:300])
                count.clear()
                both = [
                    ask(engine, each, TOKENS, words=12, beginning=BEGINNING[:300])[0]
                    for each in (models, *([model] for model in models))
                ]
            texts.append([answer.text for each in both for answer in each])
            read.append(sum(count))
        same = sum(one == other for one, other in zip(*texts, strict=True))
        report.row(
            "prefix.answers",
            ok=same == len(texts[0]) and read[1] < read[0] / 2,
            model=name,
            same=same,
            of=len(texts[0]),
            tokens_read=read,
        )


def speed(report: Report) -> None:
    """Time to the first token of 16 prompts that begin alike, read whole and read in part."""
    spec, folder = shaped("llama-3-8b")
    dtype = "bfloat16" if GPU else "float32"
    with opened("continuous", spec, folder, dtype=dtype, adapters=1, prefix_caching=True) as engine:
        figures = {}
        for what in ("in part", "whole"):
            if what == "whole":
                inner: Any = engine
                inner._prefixes = None
            for first in (0, 1):
                ask(engine, ["a0"], 1, words=12, first=first, beginning=BEGINNING)
            for _ in range(2):  # kernels for these lengths are chosen in the first
                answered, _ = ask(engine, ["a0"] * ROWS, TOKENS, words=12, beginning=BEGINNING)
            figures[what] = [round(1e3 * answer.first_s, 1) for answer in answered]
    report.row("prefix.speed", device=NAME, rows=ROWS, adapter=True, first_token_ms=figures)


def _counted(engine: Any) -> list[int]:
    """Return a list that gets the number of tokens of each prefill from now on."""
    model, counts, compute = engine._model, [], engine._model.logits

    def counted(names: Any, **inputs: Any) -> Any:
        counts.append(inputs["input_ids"].numel())
        return compute(names, **inputs)

    model.logits = counted
    return counts
