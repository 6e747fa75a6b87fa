from pathlib import Path
from typing import Any

import pytest
import torch

from medsweep.errors import EnvironmentFault, StageError
from medsweep.finetune.base import grow_segments, load_base, memory_here, precision_here
from medsweep.finetune.data import Example, collate
from medsweep.finetune.lora import add_lora
from medsweep.finetune.loss import answer_nats
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.strategy import trained
from medsweep.finetune.team import ALONE, Team
from medsweep.hardware.observe import host_profile
from medsweep.hardware.profile import GIB
from medsweep.models.catalog import MODELS
from medsweep.models.loading import int8_products_are_exact
from medsweep.models.precision import TrainingPrecision
from medsweep.models.weights import fetch_weights

BFLOAT16 = TrainingPrecision("bfloat16")
FLOAT32 = TrainingPrecision("float32")


@pytest.fixture
def folder(fine_tuned: Any) -> Path:
    return fetch_weights(fine_tuned.job.weights)


def load(folder: Path, precision: TrainingPrecision, quantization: str, **changes: Any) -> Any:
    settings = {"team": ALONE, "sharded": False, "gradient_checkpointing": False, **changes}
    base = load_base(folder, precision, quantization=quantization, **settings)
    torch.manual_seed(1)
    targets = MODELS["llama-3-8b"].lora_targets
    return add_lora(base, rank=4, alpha=8, dropout=0.0, targets=targets)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.train()
    batch = collate([(Example(tuple(range(5, 25)), 5),)], 0)
    with torch.autocast("cpu", torch.bfloat16, enabled=model.dtype == torch.bfloat16):
        answer_nats(model, batch).backward()
    return {name: one.grad.clone() for name, one in trained(model).items()}


def refused(folder: Path, quantization: str) -> bool:
    """Whether this processor cannot do a quantization, which is then refused."""
    if quantization != "int8" or int8_products_are_exact():
        return False
    with pytest.raises(EnvironmentFault, match="int8 products are wrong on this processor"):
        load(folder, FLOAT32, quantization)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_adapters_are_float32_and_nothing_is_cast_up(
    folder: Path, precision: TrainingPrecision, quantization: str
) -> None:
    if refused(folder, quantization):
        return
    model = load(folder, precision, quantization)
    compute = getattr(torch, precision.compute)
    assert {one.dtype for one in trained(model).values()} == {torch.float32}
    assert all(one.grad is None for one in model.parameters())
    frozen = {name: one for name, one in model.named_parameters() if not one.requires_grad}
    embedding = next(one for name, one in frozen.items() if "embed_tokens" in name)
    norm = next(one for name, one in frozen.items() if "norm" in name)
    assert embedding.dtype == norm.dtype == compute
    [query] = [one for name, one in frozen.items() if "layers.0.self_attn.q_proj" in name]
    kinds = {"none": "Parameter", "int8": "Int8Params", "nf4": "Params4bit"}
    assert type(query).__name__ == kinds[quantization]
    if quantization == "nf4":
        assert query.quant_state.nested
        assert query.quant_state.quant_type == "nf4"
    assert all(torch.isfinite(one).all() for one in gradients(model).values())
    assert {one.dtype for one in trained(model).values()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_an_evaluation_does_not_change_the_gradients(folder: Path, quantization: str) -> None:
    if refused(folder, quantization):
        return
    model = load(folder, FLOAT32, quantization)
    for name, parameter in trained(model).items():
        if "lora_B" in name:
            parameter.data.fill_(0.02)
    before = gradients(model)
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.arange(5, 25)[None])
    after = gradients(model)
    for name, gradient in before.items():
        assert torch.allclose(gradient, after[name], atol=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_gradients_do_not_depend_on_keeping_activations(folder: Path, quantization: str) -> None:
    kept = gradients(load(folder, FLOAT32, quantization))
    model = load(folder, FLOAT32, quantization, gradient_checkpointing=True)
    assert model.is_activation_checkpointing
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, kept[name], atol=1e-6), name


def test_precision_here_refuses_what_the_device_does_not_do() -> None:
    spec = MODELS["llama-3-8b"]
    assert precision_here(spec, "cpu", Recipe(quantization="nf4")).compute == "float32"
    with pytest.raises(StageError, match="fine-tuning llama-3-8b: float16 needs a GPU"):
        precision_here(spec, "cpu", Recipe(dtype="float16"))


def test_workers_of_a_machine_share_its_memory() -> None:
    whole = host_profile().host_memory_bytes
    assert memory_here(ALONE) == whole
    assert memory_here(Team(1, 2)) == whole // 2


def test_a_gpu_has_what_is_free_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * GIB, 16 * GIB))
    assert memory_here(Team(device="cuda:0")) == 7 * GIB


def test_segments_grow_where_the_driver_can(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    settings: list[str] = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", settings.append)
    assert not grow_segments("cpu")
    assert settings == []

    def unmapped(*_: object, **__: object) -> object:
        raise RuntimeError("CUDA driver error: operation not supported")

    monkeypatch.setattr(torch, "ones", unmapped)
    assert not grow_segments("cuda:0")
    assert settings == ["expandable_segments:True", "expandable_segments:False"]
    monkeypatch.setattr(torch, "ones", lambda size, device: torch.zeros(size))
    assert grow_segments("cuda:0")
    assert settings[2:] == ["expandable_segments:True"]
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "backend:cudaMallocAsync")
    assert not grow_segments("cuda:0")
    assert len(settings) == 3
