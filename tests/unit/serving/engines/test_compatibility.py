import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.serving.engines import ENGINES
from medsweep.serving.engines.compatibility import (
    ENGINE_QUANTIZATIONS,
    attention_implementation,
    unsupported,
)

CLINIC = HardwareProfile("clinic", 4, 0, None, 16 * GIB)


def everything(_: str) -> bool:
    return True


def nothing(_: str) -> bool:
    return False


@pytest.mark.parametrize("engine", ["generate", "continuous"])
@pytest.mark.parametrize("profile", [*PROFILES, "clinic"])
def test_these_engines_run_everywhere(engine: str, profile: str) -> None:
    where = CLINIC if profile == "clinic" else PROFILES[profile]
    assert unsupported(engine, where, MODELS["llama-3-8b"], has=nothing) is None


@pytest.mark.parametrize(
    ("engine", "profile", "model", "reason"),
    [
        ("vllm", "clinic", "llama-3-8b", "needs a GPU and clinic has none"),
        ("vllm", "1xv100-1cpu", "llama-3-8b", "7.5; V100 is compute capability 7.0"),
        ("vllm", "1xa100-1cpu", "standin-llama-3-8b", "serves no stand-ins"),
        ("vllm", "1xa100-1cpu", "llama-3-8b", None),
        ("vllm", "1xrtx8000-1cpu", "llama-3-8b", None),
        ("vllm", "1xrtx8000-1cpu", "distilgpt2", None),
        ("vllm", "1xv100-1cpu", "distilgpt2", "vllm needs compute capability 7.5"),
        ("vllm", "clinic", "smollm2-135m", "needs a GPU"),
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
    found = unsupported(engine, where, MODELS[model], quantization=quantization, has=everything)
    assert found == reason or (found is not None and reason is not None and reason in found)


@pytest.mark.parametrize(
    ("engine", "profile", "model", "package"),
    [
        ("vllm", "1xa100-1cpu", "llama-3-8b", "vllm"),
        ("openvino", "clinic", "smollm2-135m", "openvino_genai"),
    ],
)
def test_a_package_that_is_absent_is_named(
    engine: str, profile: str, model: str, package: str
) -> None:
    where = CLINIC if profile == "clinic" else PROFILES[profile]
    reason = unsupported(engine, where, MODELS[model], has=nothing)
    assert (
        reason == f"engine {engine} needs the package {package}: pip install 'medsweep[{engine}]'"
    )


def test_quantization_is_the_engine_s() -> None:
    model = MODELS["smollm2-135m"]
    refused = unsupported("openvino", CLINIC, model, has=everything)
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
