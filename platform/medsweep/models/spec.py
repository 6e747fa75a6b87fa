"""The entry of a model in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["hub", "standin", "own"]


@dataclass(frozen=True)
class ModelSpec:
    """One language model.

    Attributes:
        name: its name in MedSweep.
        hub_id: repository on the Hugging Face hub; None for a stand-in or a folder.
        revision: commit of that repository; None for a stand-in until it is built.
        gated: whether the hub requires consent and a token.
        parameters: number of weights, tied ones counted once.
        layers: transformer blocks.
        hidden_size: width of the residual stream.
        kv_heads: key/value heads of each layer.
        head_dim: width of a head.
        vocab_size: rows of the embedding.
        context_length: longest sequence, in tokens.
        template: name of the prompt template.
        lora_targets: names of the modules that get LoRA weights.
        stop_tokens: special tokens that end an answer.
        licence: SPDX identifier, or the licence's own name.
        source: `hub`, `standin` (built on this machine), or `own` (a user's, on the hub or in a
            folder).
        stands_in_for: the model whose architecture a stand-in has; None for a real model.
        matrices_per_layer: weight matrices of a block; each takes one kernel.
        float16_overflows: whether activations leave float16's range and become NaN.
        tied_embeddings: whether the output layer is the embedding.
        folder: folder of a user's own weights that are not on the hub.
    """

    name: str
    hub_id: str | None
    revision: str | None
    gated: bool
    parameters: int
    layers: int
    hidden_size: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    template: str
    lora_targets: tuple[str, ...]
    stop_tokens: tuple[str, ...]
    licence: str
    source: Source
    stands_in_for: str | None = None
    matrices_per_layer: int = 7
    float16_overflows: bool = False
    tied_embeddings: bool = False
    folder: str | None = None

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding, and of the output layer where the two are not tied."""
        return (1 if self.tied_embeddings else 2) * self.vocab_size * self.hidden_size

    @property
    def computed_parameters(self) -> int:
        """Weights that every token is multiplied by, without those that are only looked up."""
        looked_up = 0 if self.tied_embeddings else self.vocab_size * self.hidden_size
        return self.parameters - looked_up

    def kv_bytes_per_token(self, bytes_per_value: int) -> int:
        """Return the KV cache of one token, in bytes: a key and a value per layer and KV head."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_per_value
