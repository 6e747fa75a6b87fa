"""The models of the check: trained stand-ins, and random weights in the shape of real models."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from gpu.device import DEVICE, GPU, released
from medsweep.datasets.load import embedded_answers
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.models import standin
from medsweep.models.catalog import MODELS
from medsweep.models.loading import load_model
from medsweep.models.spec import ModelSpec
from medsweep.serving.engines.compatibility import VLLM_HEAD_DIMS

ROOM = Path("/dev/shm" if GPU else tempfile.gettempdir()) / "medsweep-gpu-check"
"""In memory, because a disk would set the time to load 16 GB."""

RANK = 16


def small(name: str, *, wide: bool = False) -> tuple[ModelSpec, Path]:
    """Return a trained stand-in of an architecture and its folder.

    Args:
        name: of the architecture's model.
        wide: whether its heads are as wide as the narrowest that vLLM has attention for.
    """
    spec = MODELS[f"standin-{name}"]
    if wide:
        spec = replace(spec, head_dim=VLLM_HEAD_DIMS[0], kv_heads=max(1, spec.kv_heads // 2))
    folder = ROOM / f"{spec.name}{'-wide' * wide}"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        standin.build(spec, embedded_answers()[:200], folder)
    return spec, folder


def shaped(name: str) -> tuple[ModelSpec, Path]:
    """Return a model with random weights in a real model's shape; without a GPU a tiny one.

    Its tokenizer is a stand-in's. Its folder has an adapter beside it, for `adapters_of`.
    """
    spec = MODELS[name] if GPU else MODELS[f"standin-{name}"]
    stand_in, tokenizer = small(name)
    if not GPU:
        return stand_in, tokenizer
    folder = ROOM / name
    if not folder.is_dir():
        with released(), torch.device(DEVICE):
            model = transformers.AutoModelForCausalLM.from_config(
                _config(spec), dtype=torch.bfloat16
            )
            model.save_pretrained(folder, max_shard_size="4GB")
        for file in tokenizer.glob("*token*"):
            (folder / file.name).write_bytes(file.read_bytes())
    return spec, folder


def _config(spec: ModelSpec) -> transformers.PretrainedConfig:
    if spec.name == "distilgpt2":
        return transformers.GPT2Config(n_layer=spec.layers)
    width = {"llama-3-8b": 14336, "llama-2-7b": 11008, "mistral-7b": 14336}[spec.name]
    return transformers.LlamaConfig(
        hidden_size=spec.hidden_size,
        intermediate_size=width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.hidden_size // spec.head_dim,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.context_length,
        rope_theta=5e5,
    )


def adapters_of(spec: ModelSpec, base: Path, count: int) -> dict[str, Adapter]:
    """Return adapters with random weights, by the names a0, a1, ..."""
    adapters = {}
    for number in range(count):
        folder = ROOM / f"{base.name}-a{number}"
        if not folder.is_dir():
            _make_adapter(spec, base, folder, seed=number)
        adapters[f"a{number}"] = read_adapter(folder)
    return adapters


def _make_adapter(spec: ModelSpec, base: Path, folder: Path, seed: int) -> None:
    with released():
        torch.manual_seed(seed)
        loaded = load_model(base, dtype=torch.bfloat16, device_map={"": DEVICE})
        model = add_lora(loaded, rank=RANK, alpha=RANK, dropout=0.0, targets=spec.lora_targets)
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if "lora_B" in name:
                    weights.normal_(std=0.02)
        card = {
            "model": spec.name,
            "base": str(base),
            "template": spec.template,
            "stop_tokens": spec.stop_tokens,
        }
        epoch = {"epoch": 0, "eval_loss": 0.0}
        save_adapter(folder, model, card=card, epochs=[epoch], provenance={})
        del loaded, model


def make_overflowing_gemma(folder: Path) -> None:
    """Write a tiny Gemma whose MLPs multiply and return values beyond the range of float16."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.GemmaConfig(**sizes, **heads, hidden_activation="gelu_pytorch_tanh")
    )
    deviations = {"gate_proj": 30.0, "up_proj": 30.0, "down_proj": 0.3}
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=deviations.get(name.split(".")[-2], 0.2))
    model.save_pretrained(folder)


def make_encoder(folder: Path, texts: Sequence[str]) -> None:
    """Write an encoder with random weights in BERT's shape, without a GPU a tiny one.

    Args:
        folder: where to.
        texts: whose words its tokenizer knows.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *sorted({word for text in texts for word in text.split()} - {*special})]
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(folder)
    tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes = {} if GPU else {**tiny, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(words), **sizes)
    transformers.BertModel(config).save_pretrained(folder)
