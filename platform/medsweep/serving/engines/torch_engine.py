"""The base class of engines that compute with torch in this process."""

from __future__ import annotations

from medsweep.finetune.adapter import Adapter
from medsweep.serving.engines.engine_thread import ThreadedEngine
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import LowRankPair, verified_pairs
from medsweep.serving.protocol import TokenScores


class TorchEngine(ThreadedEngine):
    """A model of transformers with its adapters; `_load_base` sets `_model`.

    Args:
        settings: with quantization none, int8 or nf4.
    """

    @property
    def scores_tokens(self) -> bool:
        """Whether it gives log-probabilities."""
        return True

    _model: LoraModel

    def _read_adapter(self, adapter: Adapter) -> dict[str, LowRankPair]:
        return verified_pairs(adapter)

    def _load_adapter(self, inner: str, files: dict[str, LowRankPair]) -> None:
        self._model.add(inner, files)

    def _unload_adapter(self, inner: str) -> None:
        self._model.adapters.drop(inner)

    def _score(self, adapter: str | None, ids: list[int], first: int, top: int) -> TokenScores:
        tokenizer = self._tokenizer.backend_tokenizer
        return self._model.token_scores(adapter, tokenizer, ids, first, top)

    def _on_thread(self) -> None:
        """Set the number of threads and the current GPU, which torch keeps per thread."""
        import torch

        if self._settings.device and torch.cuda.is_available():
            torch.cuda.set_device(self._settings.device)
        if self._settings.cpus is not None:
            torch.set_num_threads(self._settings.cpus)
