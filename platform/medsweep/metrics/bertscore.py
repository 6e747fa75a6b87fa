"""BERTScore (Zhang et al. 2020) of answers, computed by torchmetrics with a local model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medsweep.errors import InputError, require
from medsweep.metrics.resampling import mean_intervals
from medsweep.metrics.statistics import Interval

# torchmetrics 1.9 sorts answers and references by length, each on its own. To restore their order
# it applies the same permutation once more, which only of two texts is the inverse: in a larger
# batch answers meet the references of others.
_BATCH = 2


class BertScore:
    """Grades answers against their references, and keeps one number per answer.

    The score is F1 over the last layer's embeddings, without IDF weights and without rescaling by a
    baseline, so that only scores of the same model are comparable. A GPU is used if there is one.

    Args:
        folder: folder of an encoder's weights and tokenizer, as transformers saves them.

    Raises:
        InputError: the folder has no model, or none in safetensors without code of its own.
        EnvironmentFault: torchmetrics is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder}: no model there: give the folder of an encoder with config.json, "
                "weights and tokenizer"
            )
        require("torchmetrics")
        import torch
        from torchmetrics.functional.text.bert import bert_score
        from transformers import AutoModel, AutoTokenizer

        # torchmetrics would load the folder itself: from pickles too, and asking about its code.
        local = {"trust_remote_code": False, "local_files_only": True}
        try:
            self._model = AutoModel.from_pretrained(folder, use_safetensors=True, **local)
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: no model that can be loaded: {error}") from None
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._score = bert_score
        self._waiting: list[tuple[str, str]] = []
        self._figures: list[float] = []

    def add(self, answer: str, reference: str) -> None:
        """Add an answer, which is graded in a batch with others."""
        self._waiting.append((answer, reference))
        if len(self._waiting) == _BATCH:
            self._grade()

    def f1(self, seed: int) -> Interval | None:
        """Return the mean F1 with its interval over answers; None without answers.

        Args:
            seed: seed of the bootstrap.
        """
        self._grade()
        if not self._figures:
            return None
        [interval] = mean_intervals(np.array(self._figures)[:, None], seed=seed)
        return interval

    @property
    def greatest(self) -> float | None:
        """The F1 of the best answer; None without answers."""
        self._grade()
        return max(self._figures, default=None)

    def _grade(self) -> None:
        if not self._waiting:
            return
        answers, references = zip(*self._waiting, strict=True)
        self._waiting = []
        scores = self._score(
            list(answers),
            list(references),
            model=self._model,
            user_tokenizer=self._tokenizer,
            truncation=True,
            batch_size=_BATCH,
            device=self._device,
        )
        self._figures += np.atleast_1d(scores["f1"].cpu().numpy()).astype(float).tolist()
