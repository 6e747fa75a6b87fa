"""Metrics that a model computes, on the device: BERTScore of answers."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from gpu.device import DEVICE, GPU, NAME, peak_gib, released, timed
from gpu.models import ROOM, make_encoder
from gpu.report import Report
from medsweep.datasets.load import embedded_answers
from medsweep.models.bertscore import BertScore

ANSWERS = 200 if GPU else 12
CHECKED = 16 if GPU else 12

# Float32 sums in another order, through the layers of the encoder.
AGREE = 1e-3


def bertscore(report: Report) -> None:
    """Grade answers against others; compare with the formula, which is computed on the CPU."""
    texts = embedded_answers()[:ANSWERS]
    folder = ROOM / "encoder"
    if not folder.is_dir():
        make_encoder(folder, texts)
    pairs = [(texts[0], texts[0]), *pairwise(texts)]
    with released():
        graded: Any = BertScore(folder)
        for answer, reference in pairs:
            graded.add(answer, reference)
        figures = list(graded.figures)
        # The first pass loaded the kernels.
        seconds, peak = timed(lambda: graded._grade(pairs)), peak_gib()
    computed_on = graded._model.device
    known = _by_the_formula(folder, pairs[:CHECKED])
    worst = max(abs(one - other) for one, other in zip(figures[:CHECKED], known, strict=True))
    report.row(
        "metrics.bertscore",
        # The first answer is its own reference; the others differ from theirs.
        ok=computed_on == torch.device(DEVICE).type
        and len(figures) == len(pairs)
        and max(worst, abs(1 - figures[0])) < AGREE < 1 - min(known),
        device=NAME,
        computed_on=computed_on,
        pairs=len(pairs),
        worst=worst,
        least=min(known),
        seconds=seconds,
        peak_gib=peak,
    )


def _by_the_formula(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Greedy matching by cosine, without first and last token (Zhang et al. 2020, 3)."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    scores = []
    for pair in pairs:
        sides = []
        for text in pair:
            inputs = tokenizer(text, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                state = model(**inputs).last_hidden_state[0, 1:-1]
            sides.append(torch.nn.functional.normalize(state, dim=-1))
        alike = sides[0] @ sides[1].T
        precision, recall = float(alike.amax(1).mean()), float(alike.amax(0).mean())
        scores.append(2 * precision * recall / (precision + recall))
    return scores
