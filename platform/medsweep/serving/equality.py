"""Whether a merged model answers as its base does with the adapter beside it."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.finetune.adapter import Adapter
from medsweep.models.loading import load_tokenizer
from medsweep.results.store import read_json, write_json
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import verified_pairs
from medsweep.serving.merge import merged_folder

ANSWER_TOKENS = 32
"""Longest answer that is compared."""


@dataclass(frozen=True)
class Equality:
    """A comparison of greedy answers.

    Attributes:
        questions: number of answers of each side.
        equal_share: share of them that have the same tokens.
        logit_difference: largest absolute difference of two logits, over the vocabulary and every
            token of the live adapter's answers.
    """

    questions: int
    equal_share: float
    logit_difference: float


def compare_merged(
    adapter: Adapter, base: Path, dtype: str, prompts: Sequence[str], max_tokens: int
) -> Equality:
    """Compare a merged model with the live adapter, one model in memory after the other.

    The result is kept beside the merged weights.

    Args:
        adapter: the adapter.
        base: folder of its base model.
        dtype: compute dtype of both.
        prompts: to answer, with the template applied.
        max_tokens: longest answer that is compared.

    Raises:
        InputError, StageError: as in `merge`.
    """
    merged = merged_folder(adapter, base, dtype)
    questions = hashlib.sha256(json.dumps([max_tokens, *prompts]).encode()).hexdigest()[:16]
    record = merged / f"equality-{questions}.json"
    known = read_json(record)
    if known is not None:
        return Equality(**known)
    tokenizer = load_tokenizer(base)
    stop = tokenizer.convert_tokens_to_ids(list(adapter.stop_tokens))
    rows = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    live, live_logits = _answer(base, dtype, rows, stop, max_tokens, adapter)
    other, logits = _answer(merged, dtype, rows, stop, max_tokens, None, live)
    equality = Equality(
        questions=len(rows),
        equal_share=sum(a == b for a, b in zip(live, other, strict=True)) / len(rows),
        logit_difference=max(
            float((a - b).abs().max()) for a, b in zip(live_logits, logits, strict=True)
        ),
    )
    write_json(record, asdict(equality))
    return equality


def _answer(
    folder: Path,
    dtype: str,
    rows: Sequence[list[int]],
    stop: list[int],
    max_tokens: int,
    adapter: Adapter | None,
    answers: Sequence[list[int]] | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Return the greedy answers of a model, and its logits of each token of some answers.

    Args:
        folder: of the model.
        dtype: compute dtype.
        rows: token ids of the prompts.
        stop: tokens that end an answer.
        max_tokens: longest answer.
        adapter: applied beside the model; None applies none.
        answers: whose logits are returned; None takes its own answers.
    """
    import torch

    loaded = LoraModel(folder, dtype=dtype, quantization="none", flash=False)
    if adapter is not None:
        loaded.add("live", verified_pairs(adapter))
    model = loaded.using("live" if adapter is not None else None)
    longest = max(map(len, rows))
    padded = [[0] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    with torch.inference_mode():
        output = model.generate(
            input_ids=torch.tensor(padded, device=loaded.device),
            attention_mask=torch.tensor(mask, device=loaded.device),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=stop[0],
        )
        own = [_cut(row, stop) for row in output[:, longest:].tolist()]
        logits = []
        for row, answer in zip(rows, answers or own, strict=True):
            # One by one, because padding would add rounding of its own.
            ids = torch.tensor([[*row, *answer]], device=loaded.device)
            all_logits = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits
            logits.append(all_logits[0, :-1].float().cpu())
    del model, loaded
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return own, logits


def _cut(row: list[int], stop: Sequence[int]) -> list[int]:
    """Return an answer up to its first stop token, which belongs to it."""
    ends = [place for place, token in enumerate(row) if token in stop]
    return row[: ends[0] + 1] if ends else row
