"""BERTScore (Zhang et al. 2020) of answers, with a local encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medsweep.errors import InputError, require
from medsweep.metrics.resampling import mean_intervals
from medsweep.metrics.statistics import Interval
from medsweep.models.loading import (
    LOCAL,
    DeviceModel,
    check_model_folder,
    load_tokenizer,
    longest_input,
)
from medsweep.models.token_batches import token_batches

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 2**14
"""Most tokens of answers and references in one forward pass, padding included."""


class BertScore:
    """Grades answers against their references, and keeps one number per answer.

    The score is F1 over the last layer's embeddings, without IDF weights and without rescaling by a
    baseline, so that only scores of the same model are comparable. Texts are cut off where the
    encoder has no more positions. Tokens that the tokenizer adds, such as [CLS] and [SEP], are left
    out on both sides, as in torchmetrics; the authors' package gives them weight 0, but lets others
    match them. A GPU is used if there is one.

    Args:
        folder: folder of an encoder's weights and tokenizer, as transformers saves them.

    Raises:
        InputError: the folder has no model, or none in safetensors without code of its own, or the
            GPU is broken or full.
        MissingPackage: PyTorch or transformers is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder}: no model there: give the folder of an encoder with config.json, "
                "weights and tokenizer"
            )
        check_model_folder(folder)
        require("torch", "transformers")
        import torch
        from transformers import AutoModel

        options = {"use_safetensors": True, "dtype": torch.float32, **LOCAL}
        try:
            model, report = AutoModel.from_pretrained(folder, output_loading_info=True, **options)
            self._tokenizer = load_tokenizer(folder)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: no model that can be loaded: {error}") from None
        # An encoder that was saved with a head has no pooler, which is not used here.
        missing = {name for name in report["missing_keys"] if not name.startswith("pooler.")}
        if missing:
            raise InputError(f"{folder}: no weights for {', '.join(sorted(missing)[:3])}")
        self._model = DeviceModel(model, folder)
        self._longest = longest_input(model, self._tokenizer)
        self._waiting: list[tuple[str, str]] = []
        self._figures: list[float] = []

    def add(self, answer: str, reference: str) -> None:
        """Add an answer, which is graded in a batch with others when a figure is read."""
        self._waiting.append((answer, reference))

    @property
    def figures(self) -> list[float]:
        """F1 of each answer, in the order that they were added."""
        if self._waiting:
            # Emptied last: if grading fails, they are graded when a figure is read again.
            self._figures += self._grade(self._waiting)
            self._waiting = []
        return self._figures

    def f1(self, seed: int) -> Interval | None:
        """Return the mean F1 with its interval over answers; None without answers.

        Args:
            seed: seed of the bootstrap.
        """
        if not self.figures:
            return None
        [interval] = mean_intervals(np.array(self.figures)[:, None], seed=seed)
        return interval

    @property
    def greatest(self) -> float | None:
        """The F1 of the best answer; None without answers."""
        return max(self.figures, default=None)

    def _grade(self, pairs: list[tuple[str, str]]) -> list[float]:
        """Return the F1 of each pair; pairs of like length are computed together."""
        tokens = self._tokenizer(
            [text for pair in pairs for text in pair],
            truncation=True,
            max_length=self._longest,
            return_special_tokens_mask=True,
        )
        texts = list(zip(tokens["input_ids"], tokens["special_tokens_mask"], strict=True))

        def length(pair: int) -> int:
            return max(len(ids) for ids, _ in texts[2 * pair : 2 * pair + 2])

        f1: dict[int, float] = {}
        by_length = sorted(range(len(pairs)), key=length)
        for batch in token_batches(by_length, length, BATCH_TOKENS // 2):
            rows = [texts[2 * pair + side] for side in (0, 1) for pair in batch]
            f1 |= zip(batch, self._f1(rows), strict=True)
        return [f1[pair] for pair in range(len(pairs))]

    def _f1(self, rows: list[tuple[list[int], list[int]]]) -> list[float]:
        """Return the F1 of answers, which are the first half of the rows, with the second half.

        Args:
            rows: token ids of each text, and which of these the tokenizer added.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        def padded(values: list[list[int]], padding: int = 0) -> torch.Tensor:
            tensors = [torch.tensor(each, dtype=torch.long) for each in values]
            return pad_sequence(tensors, batch_first=True, padding_value=padding)

        # RoBERTa counts positions by which tokens are padding.
        ids = padded([ids for ids, _ in rows], self._tokenizer.pad_token_id or 0)
        attended = padded([[1] * len(ids) for ids, _ in rows])
        words = padded([[1 - added for added in special] for _, special in rows]).bool()
        states = self._model(input_ids=ids, attention_mask=attended).last_hidden_state
        words = words.to(states.device)
        if not states[words].isfinite().all():
            raise InputError("the encoder's outputs are not numbers; its weights are damaged")
        figures: list[float] = greedy_f1(states, words).tolist()
        return figures


def greedy_f1(states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Return the F1 of greedy matching by cosine, pair by pair (Zhang et al. 2020, section 3).

    A token of the answer counts as its most similar token of the reference (precision), and one of
    the reference as its most similar token of the answer (recall).

    Args:
        states: embeddings of n answers and then of their references, (2n, tokens, size).
        words: which tokens count: neither padding nor added by the tokenizer, (2n, tokens).

    Returns:
        n values; 0 for a pair of which one text is empty.
    """
    import torch

    answers, references = torch.nn.functional.normalize(states, dim=-1).chunk(2)
    answered, expected = words.chunk(2)
    cosine = answers @ references.transpose(1, 2)
    cosine = cosine.masked_fill(~(answered[:, :, None] & expected[:, None]), -torch.inf)
    precision, recall = (
        cosine.amax(place).masked_fill(~own, 0).sum(1) / own.sum(1)
        for place, own in ((2, answered), (1, expected))
    )
    f1 = 2 * precision * recall / (precision + recall)
    return torch.where((precision > 0) & (recall > 0), f1, 0.0)
