from typing import Any

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.sweep.finetunable import finetune_caveat, finetune_refusal
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.spec import FineTuneSpec
from support import make_spec

LAPTOP = HardwareProfile("host", 2, 0, None, 8 * GIB)


def refusal(model: str, profile: str, **recipe: Any) -> str | None:
    where = LAPTOP if profile == "host" else PROFILES[profile]
    return finetune_refusal(FineTuneSpec(**recipe), MODELS[model], where)


@pytest.mark.parametrize(
    ("model", "profile", "recipe"),
    [
        ("distilgpt2", "1xv100-1cpu", {}),
        ("llama-3-8b", "1xa100-1cpu", {}),
        ("llama-3-8b", "1xv100-1cpu", {"quantization": "nf4"}),
        ("gemma-1.1-7b", "1xa100-2cpu", {"quantization": "nf4"}),
        ("gemma-1.1-7b", "2xrtx8000-4cpu", {"quantization": "nf4"}),
        ("smollm2-135m", "host", {}),
        ("standin-gemma-1.1-7b", "1xv100-2cpu", {}),
    ],
)
def test_what_can_be_done(model: str, profile: str, recipe: dict[str, Any]) -> None:
    assert refusal(model, profile, **recipe) is None


@pytest.mark.parametrize(
    ("model", "profile", "recipe", "says"),
    [
        ("llama-3-8b", "1xv100-1cpu", {"quantization": "int8"}, "int8 needs compute capability"),
        ("llama-3-8b", "1xv100-1cpu", {"dtype": "bfloat16"}, "bfloat16 needs compute capability"),
        ("llama-3-8b", "1xv100-1cpu", {}, "finetune.quantization: nf4"),
        ("llama-2-7b", "host", {}, "GiB"),
        (
            "llama-3-8b",
            "1xa100-1cpu",
            {"micro_batch_size": 8, "gradient_checkpointing": False},
            "this would fit",
        ),
    ],
)
def test_what_cannot_says_why_and_what_would(
    model: str, profile: str, recipe: dict[str, Any], says: str
) -> None:
    said = refusal(model, profile, **recipe)
    assert said is not None
    assert said.startswith(f"cannot be fine-tuned on {profile}: ")
    assert says in said


def test_more_workers_than_there_is_room_for_are_refused() -> None:
    assert refusal("distilgpt2", "1xv100-2cpu", workers=2) == (
        "finetune.workers: 2, and 1xv100-2cpu has room for 1"
    )
    assert "has room for 2" in str(refusal("distilgpt2", "host", workers=3))
    assert refusal("distilgpt2", "2xv100-4cpu", workers=2) is None


def test_two_gpus_do_not_add_up_unless_the_weights_are_spread() -> None:
    assert "zero3" in str(refusal("llama-3-8b", "2xv100-4cpu", dtype="float16"))
    assert refusal("llama-3-8b", "2xv100-4cpu", dtype="float16", strategy="zero3") is None


def test_a_plan_refuses_the_cells_of_a_model_that_cannot_be_fine_tuned() -> None:
    spec = make_spec(
        cells=["distilgpt2@1xv100-1cpu", "llama-3-8b@1xa100-1cpu"],
        finetune={"quantization": "int8"},
    )
    revisions = dict.fromkeys(model_names(spec), "revision")
    found = {cell.name: cell for cell in make_plan(spec, "data", revisions, LAPTOP).cells}
    refused = found["standin-distilgpt2@1xv100-1cpu"]
    assert "int8 needs compute capability 7.5" in str(refused.refused)
    assert found["standin-llama-3-8b@1xa100-1cpu"].refused is None
    # Fine-tuned elsewhere, it can be served there; and it is another cell than the refused one.
    elsewhere = make_spec(
        cells=["distilgpt2@1xv100-1cpu"],
        finetune={"quantization": "int8", "profile": "1xa100-1cpu"},
    )
    [cell] = make_plan(elsewhere, "data", revisions, LAPTOP).cells
    assert cell.refused is None
    assert cell.key != refused.key


@pytest.mark.parametrize(
    ("model", "profile", "recipe", "says"),
    [
        ("gemma-1.1-7b", "1xa100-1cpu", {"quantization": "int8"}, "may be worse than elsewhere: i"),
        ("gemma-1.1-7b", "1xa100-1cpu", {"dtype": "float16"}, "leave the range of float16"),
        ("llama-3-8b", "1xv100-1cpu", {"quantization": "nf4"}, "needs bitsandbytes for CUDA 11.8"),
        ("gemma-1.1-7b", "1xa100-1cpu", {}, None),
        ("llama-3-8b", "host", {}, None),
    ],
)
def test_what_a_user_should_know_before(
    model: str, profile: str, recipe: dict[str, Any], says: str | None
) -> None:
    where = LAPTOP if profile == "host" else PROFILES[profile]
    caveat = finetune_caveat(FineTuneSpec(**recipe), MODELS[model], where)
    assert caveat == says or (caveat is not None and says is not None and says in caveat)
