import pytest

from medsweep.errors import UnknownName
from medsweep.hardware.accelerators import A100, RTX_8000, V100
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.models.catalog import MODELS, PAPER_CELLS
from medsweep.models.precision import choose_dtype, memory_needed_bytes, unsupported_reason

LAPTOP = HardwareProfile("host", 2, 0, None, 8 * GIB)

DTYPES = [
    ("llama-3-8b", None, "float32"),
    ("llama-3-8b", V100, "float16"),
    ("llama-3-8b", RTX_8000, "float16"),
    ("llama-3-8b", A100, "bfloat16"),
    ("gemma-1.1-7b", V100, "float32"),
    ("gemma-1.1-7b", RTX_8000, "float32"),
    ("gemma-1.1-7b", A100, "bfloat16"),
    ("standin-gemma-1.1-7b", V100, "float32"),
]


@pytest.mark.parametrize(("model", "accelerator", "dtype"), DTYPES)
def test_choose_dtype(model: str, accelerator: Accelerator | None, dtype: str) -> None:
    assert choose_dtype(MODELS[model], accelerator) == dtype


# model, profile, dtype, quantization, engine, what the reason says (None: the cell can run)
CELLS = [
    ("llama-3-8b", "1xv100-1cpu", "bfloat16", "nf4", "generate", "no native bfloat16"),
    ("llama-3-8b", "1xrtx8000-1cpu", "bfloat16", "nf4", "generate", "no native bfloat16"),
    ("llama-3-8b", "1xa100-1cpu", "bfloat16", "nf4", "generate", None),
    ("llama-3-8b", "1xv100-1cpu", "float16", "int8", "generate", "int8 needs"),
    ("llama-3-8b", "1xrtx8000-1cpu", "float16", "int8", "generate", None),
    ("distilgpt2", "1xv100-1cpu", "float16", "none", "vllm", "vllm needs"),
    ("distilgpt2", "1xrtx8000-1cpu", "float16", "none", "vllm", None),
    ("llama-3-8b", "1xv100-1cpu", "float16", "none", "generate", "have together 16.0 GiB"),
    ("llama-3-8b", "2xv100-4cpu", "float16", "none", "generate", None),
    ("llama-3-8b", "1xv100-1cpu", "float16", "nf4", "generate", None),
    ("gemma-1.1-7b", "2xv100-4cpu", "float32", "none", "generate", "needs 36.9 GiB"),
    ("gemma-1.1-7b", "1xrtx8000-1cpu", "float32", "none", "generate", None),
]


@pytest.mark.parametrize(("model", "profile", "dtype", "quantization", "engine", "says"), CELLS)
def test_unsupported_reason(
    model: str, profile: str, dtype: str, quantization: str, engine: str, says: str | None
) -> None:
    reason = unsupported_reason(
        MODELS[model], PROFILES[profile], dtype=dtype, quantization=quantization, engine=engine
    )
    if says is None:
        assert reason is None
    else:
        assert reason is not None
        assert says in reason


def test_every_cell_of_the_paper_can_run_as_the_paper_did() -> None:
    for model, profile in PAPER_CELLS:
        dtype = choose_dtype(MODELS[model], PROFILES[profile].accelerator)
        reason = unsupported_reason(
            MODELS[model], PROFILES[profile], dtype=dtype, quantization="nf4", engine="generate"
        )
        assert reason is None, (model, profile)


@pytest.mark.parametrize(
    ("model", "engine", "says"),
    [
        ("smollm2-135m", "generate", None),
        ("llama-2-7b", "generate", "host has in main memory 8.0 GiB"),
        ("smollm2-135m", "vllm", "needs a GPU"),
    ],
)
def test_without_a_gpu(model: str, engine: str, says: str | None) -> None:
    reason = unsupported_reason(
        MODELS[model], LAPTOP, dtype="float32", quantization="none", engine=engine
    )
    assert (reason is None) if says is None else (says in (reason or ""))


def test_memory_is_weights_and_cache_and_a_tenth() -> None:
    # Llama 2: 6,738,415,616 weights x 1 byte + 2,048 tokens x 2 x 32 x 32 x 128 x 2 bytes, x 1.1
    needed = memory_needed_bytes(MODELS["llama-2-7b"], dtype="float16", quantization="int8")
    assert needed == int((6_738_415_616 + 2048 * 524_288) * 1.1)


def test_a_short_context_needs_a_short_cache() -> None:
    spec = MODELS["distilgpt2"]
    needed = memory_needed_bytes(spec, dtype="float32", quantization="none")
    assert needed == int((spec.parameters * 4 + 1024 * spec.kv_bytes_per_token(4)) * 1.1)


@pytest.mark.parametrize(("dtype", "quantization"), [("float8", "none"), ("float16", "int4")])
def test_unknown_names_are_errors(dtype: str, quantization: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown (dtype|quantization)"):
        memory_needed_bytes(MODELS["distilgpt2"], dtype=dtype, quantization=quantization)
