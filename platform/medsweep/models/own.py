"""A user's own model: one entry of a sweep's `own_models`."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from medsweep.config import Closed
from medsweep.errors import UnknownName
from medsweep.models.catalog import LLAMA_LIKE, MODELS
from medsweep.models.spec import ModelSpec
from medsweep.models.templates import TEMPLATES


class OwnModelSpec(Closed):
    """A model that is not in the catalogue; its sizes are in its `config.json`.

    Attributes:
        name: its name in cells and results.
        hub_id: repository on the Hugging Face hub; alternatively give `folder`.
        revision: commit of that repository.
        folder: folder of weights in safetensors, configuration and tokenizer.
        gated: whether the hub requires consent and a token.
        licence: SPDX identifier, or the licence's own name.
        template: name of the prompt template.
        stop_tokens: special tokens that end an answer.
        lora_targets: names of the modules that get LoRA weights.
        context_length: longest sequence, in tokens.
        parameters: number of weights, tied ones counted once.
        layers: transformer blocks.
        hidden_size: width of the residual stream.
        kv_heads: key/value heads of each layer.
        head_dim: width of a head.
        vocab_size: rows of the embedding.
        tied_embeddings: whether the output layer is the embedding.
        float16_overflows: whether activations leave float16's range and become NaN.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=40)
    hub_id: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str | None = None
    folder: str | None = None
    gated: bool = False
    licence: str
    template: str
    stop_tokens: list[str] = Field(min_length=1)
    lora_targets: list[str] = Field(default=list(LLAMA_LIKE), min_length=1)
    context_length: int = Field(ge=16)
    parameters: int = Field(ge=1)
    layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    tied_embeddings: bool = False
    float16_overflows: bool = False

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        if name in MODELS:
            raise ValueError(f"the catalogue has a model {name!r} already; choose another name")
        return name

    @field_validator("template")
    @classmethod
    def _known_template(cls, name: str) -> str:
        if name not in TEMPLATES:
            raise ValueError(str(UnknownName("prompt template", name, TEMPLATES)))
        return name

    @model_validator(mode="after")
    def _from_one_place(self) -> OwnModelSpec:
        if (self.hub_id is None) == (self.folder is None):
            raise ValueError("give either `hub_id` with its `revision`, or `folder`")
        if (self.hub_id is None) != (self.revision is None):
            raise ValueError("give `hub_id` and `revision` (a commit) together")
        return self

    def model(self) -> ModelSpec:
        """Return it in the catalogue's form."""
        fields = self.model_dump()
        for name in ("stop_tokens", "lora_targets"):
            fields[name] = tuple(fields[name])
        return ModelSpec(source="own", **fields)
