"""The next token of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medsweep.serving.engines.request_state import Row


def next_tokens(logits: Any, rows: Sequence[Row], generators: dict[Row, Any]) -> list[int]:
    """Return the next token of each row: the likeliest, or one drawn as its request says.

    Args:
        logits: [rows, vocabulary].
        rows: what was asked.
        generators: random numbers of the rows that sample; filled as they come.
    """
    tokens: list[int] = logits.argmax(-1).tolist()
    for place, row in enumerate(rows):
        if row.request.temperature > 0:
            if row not in generators:
                generators[row] = _generator(row, logits.device)
            tokens[place] = _draw(logits[place], row, generators[row])
    return tokens


def _generator(row: Row, device: Any) -> Any:
    import torch

    generator = torch.Generator(device)
    if row.request.seed is None:
        generator.seed()
    else:
        generator.manual_seed(row.request.seed)
    return generator


def _draw(logits: Any, row: Row, generator: Any) -> int:
    """Draw from the likeliest tokens that together have `top_p` (Holtzman et al., 2019)."""
    import torch

    shares, ids = (logits.float() / row.request.temperature).softmax(-1).sort(descending=True)
    before = shares.cumsum(-1) - shares
    shares = shares.where(before < row.request.top_p, 0.0)
    return int(ids[torch.multinomial(shares, 1, generator=generator)])
