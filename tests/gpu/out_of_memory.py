"""Who fails when a GPU's memory runs out, and whether the engine answers afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gpu.device import GPU, NAME
from gpu.models import shaped
from gpu.report import Report
from gpu.serving import Answered, attempt, opened

SHORT = "question about the heart and the lung "
LONG = "about the heart and the lung " * (800 if GPU else 40)
TOKENS = 32 if GPU else 8
LEFT_BYTES = 2**29
"""Left to the allocator. The 4,800 tokens of the long prompt have keys and values of more."""


def serving(report: Report) -> None:
    """Send four short prompts and one for which there is no memory; then there is memory again."""
    spec, folder = shaped("llama-3-8b")
    requests = [(spec.name, f"{SHORT}{number}") for number in range(4)]
    requests.insert(2, (spec.name, LONG))
    dtype = "bfloat16" if GPU else "float32"
    with opened("continuous", spec, folder, dtype=dtype) as engine:
        attempt(engine, requests[:2], TOKENS)  # what the first steps allocate is there then
        with _little_memory(engine):
            outcomes = attempt(engine, requests, TOKENS)
            report.row(
                "memory.serving",
                device=NAME,
                # The long one fails, with a reason of ours; the others get all their tokens.
                ok=[_answered(each) for each in outcomes] == [True, True, False, True, True]
                and "out of memory while the prompt's" in str(outcomes[2]),
                outcomes=[_words(each) for each in outcomes],
            )
            again = attempt(engine, requests[:2], TOKENS)
            ok = all(map(_answered, again))
            report.row("memory.afterwards", ok=ok, outcomes=[_words(each) for each in again])
        [long] = attempt(engine, requests[2:3], TOKENS)
        report.row("memory.given_back", ok=_answered(long), outcome=_words(long))


def _answered(outcome: Answered | BaseException) -> bool:
    return isinstance(outcome, Answered) and outcome.tokens > 0


def _words(outcome: Answered | BaseException) -> str:
    if isinstance(outcome, Answered):
        return f"{outcome.tokens} tokens"
    return f"{type(outcome).__name__}: {str(outcome)[:200]}"


@contextmanager
def _little_memory(engine: Any) -> Iterator[None]:
    """Leave the allocator little memory; without a GPU, have long prompts fail as they would."""
    if not GPU:
        model, compute = engine._model, engine._model.logits

        def scarce(names: Any, **inputs: Any) -> Any:
            if inputs["input_ids"].shape[1] > 150:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return compute(names, **inputs)

        model.logits = scarce
        try:
            yield
        finally:
            model.logits = compute
        return
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + LEFT_BYTES) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
