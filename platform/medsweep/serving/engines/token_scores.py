"""Log-probabilities of the tokens of a prompt and its answer, from one forward pass over both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medsweep.serving.protocol import TokenScores

_POSITIONS_AT_ONCE = 256


def token_scores(
    model: Any, tokenizer: Any, ids: Sequence[int], *, first: int, top: int
) -> TokenScores:
    """Return the log-probability of each token, given those before it.

    Args:
        model: of transformers, with the adapter selected.
        tokenizer: its backend (`tokenizers.Tokenizer`).
        ids: of the prompt and the answer.
        first: place of the first token that is returned; the very first has no log-probability.
        top: how many of the likeliest tokens are returned beside each.
    """
    import torch

    chosen: list[float | None] = [None] * (first == 0)
    likeliest: list[list[tuple[int, float]] | None] = [None] * (first == 0)
    begin = max(first - 1, 0)
    if len(ids) - 1 > begin:
        given = torch.tensor([list(ids[:-1])], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=given, use_cache=False).logits[0, begin:]
        nexts = torch.tensor(ids[begin + 1 :], device=logits.device)
        # In float32 and a few positions at a time: a row has a number for each token there is.
        for at in range(0, len(nexts), _POSITIONS_AT_ONCE):
            rows = logits[at : at + _POSITIONS_AT_ONCE].float().log_softmax(-1)
            own = nexts[at : at + _POSITIONS_AT_ONCE]
            values, places = rows.topk(max(1, top))
            picked = rows.gather(1, own[:, None])[:, 0].tolist()
            for token, log_prob, row, best in zip(
                own.tolist(), picked, values.tolist(), places.tolist(), strict=True
            ):
                chosen.append(log_prob)
                likeliest.append([*zip(best[:top], row[:top], strict=True), (token, log_prob)])
    return named_scores(tokenizer, ids, chosen, likeliest, first=first, top=top)


def named_scores(
    tokenizer: Any,
    ids: Sequence[int],
    own: Sequence[float | None],
    likeliest: Sequence[Sequence[tuple[int, float]] | None],
    *,
    first: int,
    top: int,
) -> TokenScores:
    """Return log-probabilities with the texts of their tokens.

    Args:
        tokenizer: backend of the model's (`tokenizers.Tokenizer`).
        ids: of the prompt and the answer.
        own: log-probability of each token from `first` on.
        likeliest: for each of them (token, log-probability) of the likeliest and of itself.
        first: place of the first token that is returned.
        top: how many of the likeliest tokens are returned beside each.
    """
    names, offsets = _texts(tokenizer, ids)
    tops: list[dict[str, float] | None] = []
    for token, pairs in zip(ids[first:], likeliest, strict=True):
        named: dict[str, float] = {}
        best = sorted(dict(pairs or ()).items(), key=lambda pair: -pair[1])
        for each, value in (*best[:top], *(pair for pair in best if pair[0] == token)):
            named.setdefault(_name(tokenizer, each), value)
        tops.append(None if pairs is None else named)
    return TokenScores(
        tokens=tuple(names[first:]),
        log_probs=tuple(own),
        tops=tuple(tops),
        offsets=tuple(offset - offsets[first] for offset in offsets[first:-1]),
    )


def _name(tokenizer: Any, token: int) -> str:
    """Return a token's text; bytes that are no character by themselves are named by number."""
    text: str = tokenizer.decode([token], skip_special_tokens=False)
    return text if text and "\ufffd" not in text else f"token_id:{token}"


def _texts(tokenizer: Any, ids: Sequence[int]) -> tuple[list[str], list[int]]:
    """Return the text of each token as it stands in the whole, and where it begins."""
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=False)
    names, offsets, length = [], [], 0
    for token in ids:
        piece = stream.step(tokenizer, token)
        names.append(piece or f"token_id:{token}")
        offsets.append(length)
        length += len(piece or "")
    return names, [*offsets, length]
