from pathlib import Path
from typing import Any

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.conventions import image_family
from medsweep.models.catalog import MODELS
from medsweep.serving.engines import ENGINES, compatibility
from medsweep.serving.engines.compatibility import (
    ENGINE_QUANTIZATIONS,
    attention_implementation,
    missing_in_images,
    unsupported,
)

CLINIC = HardwareProfile("clinic", 4, 0, None, 16 * GIB)


def nothing(engine: str, _: HardwareProfile) -> None:
    """Nothing is missing."""


@pytest.mark.parametrize("engine", ["generate", "continuous"])
@pytest.mark.parametrize("profile", [*PROFILES, "clinic"])
def test_these_engines_run_everywhere(engine: str, profile: str) -> None:
    where = CLINIC if profile == "clinic" else PROFILES[profile]
    assert unsupported(engine, where, MODELS["llama-3-8b"], missing=nothing) is None


@pytest.mark.parametrize(
    ("engine", "profile", "model", "reason"),
    [
        ("vllm", "clinic", "llama-3-8b", None),
        ("vllm", "1xv100-1cpu", "llama-3-8b", "7.5; V100 is compute capability 7.0"),
        (
            "vllm",
            "1xa100-1cpu",
            "standin-llama-3-8b",
            "no attention for heads of 16 values",
        ),
        ("vllm", "1xa100-1cpu", "llama-3-8b", None),
        ("vllm", "1xrtx8000-1cpu", "llama-3-8b", None),
        ("vllm", "1xrtx8000-1cpu", "distilgpt2", None),
        ("vllm", "1xv100-1cpu", "distilgpt2", "vllm needs compute capability 7.5"),
        ("vllm", "clinic", "smollm2-135m", None),
        ("openvino", "1xa100-1cpu", "smollm2-135m", "computes on the CPU; 1xa100-1cpu has a A100"),
        ("openvino", "clinic", "llama-3-8b", "llama-3-8b has none; it serves smollm2-135m"),
        ("openvino", "clinic", "smollm2-135m", None),
    ],
)
def test_hardware_and_model_decide(
    engine: str, profile: str, model: str, reason: str | None
) -> None:
    where = CLINIC if profile == "clinic" else PROFILES[profile]
    quantization = "int4" if engine == "openvino" else "none"
    found = unsupported(engine, where, MODELS[model], quantization=quantization, missing=nothing)
    assert found == reason or (found is not None and reason is not None and reason in found)


def test_what_is_not_installed_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSWEEP_ENGINES", str(tmp_path))
    monkeypatch.setattr(compatibility, "installed", lambda _: False)
    smollm2, a100 = MODELS["smollm2-135m"], PROFILES["1xa100-1cpu"]
    assert unsupported("openvino", CLINIC, smollm2, quantization="int8") == (
        "engine openvino needs the package openvino_genai: pip install 'medsweep[openvino]'"
    )
    here = "engine vllm is not installed here: medsweep engines install vllm"
    assert unsupported("vllm", CLINIC, smollm2) == f"{here} --cpu"
    # Where the profile's GPU is not, this machine's processor stands in for it.
    assert unsupported("vllm", a100, smollm2) == f"{here} --cpu"
    monkeypatch.setattr(compatibility, "observe_gpus", lambda: ("one",))
    assert unsupported("vllm", a100, smollm2) == here
    assert unsupported("continuous", CLINIC, smollm2) is None


def test_on_a_cluster_the_image_decides_and_not_this_machine() -> None:
    smollm2 = MODELS["smollm2-135m"]
    on_cluster: Any = {"missing": missing_in_images}
    assert unsupported("vllm", PROFILES["1xa100-1cpu"], smollm2, **on_cluster) is None
    assert unsupported("vllm", CLINIC, smollm2, **on_cluster) == (
        "engine vllm is not in the image for clinic; see k8s/images"
    )
    refused = unsupported("openvino", CLINIC, smollm2, quantization="int8", **on_cluster)
    assert refused == "engine openvino is not in the image for clinic; see k8s/images"
    # The images that hold it are those for GPUs that vLLM runs on.
    images = Path(__file__).parents[4] / "k8s" / "images"
    holding = {
        file.name
        for file in images.glob("Dockerfile.*")
        if "medsweep engines install vllm" in file.read_text()
    }
    profiles = [*PROFILES.values(), CLINIC]
    able = [each for each in profiles if not unsupported("vllm", each, smollm2, **on_cluster)]
    assert {f"Dockerfile.{image_family(each)}" for each in able} == holding == {"Dockerfile.cu13"}


def test_quantization_is_the_engine_s() -> None:
    model = MODELS["smollm2-135m"]
    refused = unsupported("openvino", CLINIC, model, missing=nothing)
    assert refused == "engine openvino has quantization int8 or int4, not none"
    refused = unsupported("generate", CLINIC, model, quantization="int4")
    assert refused == "engine generate has quantization none or int8 or nf4, not int4"
    assert unsupported("continuous", CLINIC, model, quantization="nf4") is None


def test_every_engine_with_a_model_says_what_it_serves() -> None:
    assert set(ENGINE_QUANTIZATIONS) == set(ENGINES) - {"null"}


@pytest.mark.parametrize(
    ("capability", "dtype", "there", "chosen"),
    [
        (None, "float32", True, "sdpa"),
        ((7, 0), "float16", True, "sdpa"),
        ((7, 5), "float16", True, "sdpa"),
        ((8, 0), "bfloat16", True, "flash_attention_2"),
        ((8, 0), "float16", True, "flash_attention_2"),
        ((8, 0), "float32", True, "sdpa"),
        ((8, 0), "bfloat16", False, "sdpa"),
    ],
)
def test_attention_by_compute_capability(
    capability: tuple[int, int] | None, dtype: str, there: bool, chosen: str
) -> None:
    assert attention_implementation(capability, dtype, lambda _: there) == chosen


@pytest.mark.parametrize(
    ("engine", "profile", "dtype", "quantization", "packs"),
    [
        ("continuous", "clinic", "float32", "none", True),
        ("generate", "clinic", "bfloat16", "none", True),
        ("vllm", "clinic", "float32", "none", False),
        ("continuous", "1xv100-1cpu", "float32", "none", False),
        ("continuous", "clinic", "float16", "none", False),
        ("continuous", "clinic", "float32", "nf4", False),
    ],
)
def test_weights_are_packed_on_a_cpu_only(
    engine: str, profile: str, dtype: str, quantization: str, packs: bool
) -> None:
    machine = CLINIC if profile == "clinic" else PROFILES[profile]
    assert (
        compatibility.packs_weights(engine, machine, dtype=dtype, quantization=quantization)
        == packs
    )
