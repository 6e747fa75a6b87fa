import pytest

from medsweep.errors import UnknownName
from medsweep.hardware.catalog import A100, PROFILES, RTX_8000, V100
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.models.catalog import MODELS, PAPER_CELLS
from medsweep.models.precision import (
    choose_dtype,
    dtype_reason,
    memory_needed_bytes,
    sequences_that_fit,
    serving_refusal,
    training_precision,
)

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


@pytest.mark.parametrize(
    ("model", "accelerator", "given", "reason"),
    [
        ("llama-3-8b", A100, "bfloat16", "the user names it"),
        ("llama-3-8b", None, "auto", "auto: float32 on a processor"),
        ("llama-3-8b", A100, "auto", "auto: A100 has native bfloat16"),
        ("llama-3-8b", V100, "auto", "auto: V100 has no native bfloat16"),
        ("gemma-1.1-7b", V100, "auto", "activations of gemma-1.1-7b leave float16's range"),
    ],
)
def test_why_a_dtype(model: str, accelerator: Accelerator | None, given: str, reason: str) -> None:
    assert reason in dtype_reason(MODELS[model], accelerator, given)


# model, profile, dtype, quantization, part of the reason (None: the cell can run)
CELLS = [
    ("llama-3-8b", "1xv100-1cpu", "bfloat16", "nf4", "no native bfloat16"),
    ("llama-3-8b", "1xrtx8000-1cpu", "bfloat16", "nf4", "no native bfloat16"),
    ("llama-3-8b", "1xa100-1cpu", "bfloat16", "nf4", None),
    ("llama-3-8b", "1xv100-1cpu", "float16", "int8", "int8 needs"),
    ("llama-3-8b", "1xrtx8000-1cpu", "float16", "int8", None),
    ("llama-3-8b", "1xv100-1cpu", "float16", "none", "one V100 has 15.7 GiB"),
    ("llama-3-8b", "2xv100-4cpu", "float16", "none", "15.7 GiB, and only engine vllm splits"),
    ("llama-3-8b", "1xv100-1cpu", "float16", "nf4", None),
    ("gemma-1.1-7b", "2xv100-4cpu", "float32", "none", "needs 36.9 GiB"),
    ("gemma-1.1-7b", "1xrtx8000-1cpu", "float32", "none", None),
]


@pytest.mark.parametrize(("model", "profile", "dtype", "quantization", "says"), CELLS)
def test_serving_refusal(
    model: str, profile: str, dtype: str, quantization: str, says: str | None
) -> None:
    reason = serving_refusal(
        MODELS[model], PROFILES[profile], dtype=dtype, quantization=quantization
    )
    if says is None:
        assert reason is None
    else:
        assert reason is not None
        assert says in reason


def test_an_engine_that_splits_a_model_has_the_memory_of_all_gpus() -> None:
    model, profile = MODELS["llama-3-8b"], PROFILES["2xv100-4cpu"]
    how = {"dtype": "float16", "quantization": "none"}
    assert serving_refusal(model, profile, **how, splits=True) is None
    model = MODELS["gemma-1.1-7b"]
    reason = serving_refusal(model, profile, dtype="float32", quantization="none", splits=True)
    assert reason is not None
    assert "2 x V100 have together 31.4 GiB" in reason


def test_every_cell_of_the_paper_can_run_as_the_paper_did() -> None:
    for model, profile in PAPER_CELLS:
        dtype = choose_dtype(MODELS[model], PROFILES[profile].accelerator)
        reason = serving_refusal(MODELS[model], PROFILES[profile], dtype=dtype, quantization="nf4")
        assert reason is None, (model, profile)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("smollm2-135m", None),
        ("llama-2-7b", "host has in main memory 8.0 GiB"),
    ],
)
def test_without_a_gpu(model: str, says: str | None) -> None:
    reason = serving_refusal(MODELS[model], LAPTOP, dtype="float32", quantization="none")
    assert (reason is None) if says is None else (says in (reason or ""))


def test_memory_is_weights_and_cache_and_a_tenth() -> None:
    # Llama 2: 6,738,415,616 weights x 1 byte, but two tables of 32,000 x 4,096 x 2 bytes, and
    # 2,048 tokens x 2 x 32 x 32 x 128 x 2 bytes, x 1.1
    needed = memory_needed_bytes(MODELS["llama-2-7b"], dtype="float16", quantization="int8")
    assert needed == int((6_738_415_616 + 2 * 32_000 * 4096 + 2048 * 524_288) * 1.1)


@pytest.mark.parametrize(("room", "fit"), [(-1.0, 0), (0.5, 0), (1.0, 1), (7.5, 7)])
def test_as_many_sequences_fit_as_the_memory_beside_the_weights_holds(
    room: float, fit: int
) -> None:
    model = MODELS["llama-2-7b"]
    weights = 6_738_415_616 + 2 * 32_000 * 4096
    memory = int((weights + room * 500 * 524_288) * 1.1) + 2  # the bytes that rounding takes
    machine = HardwareProfile("host", 2, 0, None, memory)
    how = {"dtype": "float16", "quantization": "int8", "tokens": 500}
    assert sequences_that_fit(model, machine, **how) == fit
    if fit:
        assert memory_needed_bytes(model, **how, sequences=fit) <= memory
        assert memory_needed_bytes(model, **how, sequences=fit + 1) > memory


def test_a_split_model_has_room_for_sequences_on_all_gpus() -> None:
    model, how = MODELS["llama-3-8b"], {"dtype": "float16", "quantization": "nf4", "tokens": 2048}
    one, two = (
        sequences_that_fit(model, PROFILES["2xv100-4cpu"], **how, splits=splits)
        for splits in (False, True)
    )
    assert two > 2 * one > 0


def test_a_short_context_needs_a_short_cache() -> None:
    spec = MODELS["distilgpt2"]
    needed = memory_needed_bytes(spec, dtype="float32", quantization="none")
    assert needed == int((spec.parameters * 4 + 1024 * spec.kv_bytes_per_token(4)) * 1.1)


def test_where_weights_are_packed_an_output_layer_that_is_the_embedding_has_a_copy() -> None:
    spec = MODELS["distilgpt2"]  # 50,257 x 768 values
    plain, packed = (
        memory_needed_bytes(spec, dtype="float32", quantization="none", packed=packed)
        for packed in (False, True)
    )
    assert packed - plain == pytest.approx(50_257 * 768 * 4 * 1.1, abs=1)


@pytest.mark.parametrize(("dtype", "quantization"), [("float8", "none"), ("float16", "int2")])
def test_unknown_names_are_errors(dtype: str, quantization: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown (dtype|quantization)"):
        memory_needed_bytes(MODELS["distilgpt2"], dtype=dtype, quantization=quantization)


# GPU, quantization, model: what a fine-tune computes in there, whether the loss is scaled, and a
# word of what is said about it. Every model of the catalogue is like `llama-3-8b` or, where float16
# overflows, like `gemma-1.1-7b`; a test below holds that to be so.
TRAINING = [
    (None, "none", "llama-3-8b", "float32", False, None),
    (None, "int8", "llama-3-8b", "float32", False, None),
    (None, "nf4", "llama-3-8b", "float32", False, None),
    (None, "none", "gemma-1.1-7b", "float32", False, None),
    (None, "int8", "gemma-1.1-7b", "float32", False, None),
    (None, "nf4", "gemma-1.1-7b", "float32", False, None),
    (V100, "none", "llama-3-8b", "float16", True, None),
    (V100, "int8", "llama-3-8b", "float16", False, "refused: int8 needs compute capability 7.5"),
    (V100, "nf4", "llama-3-8b", "float16", True, "needs: CUDA 11.8 to 12.8"),
    (V100, "none", "gemma-1.1-7b", "float32", False, None),
    (V100, "int8", "gemma-1.1-7b", "float32", False, "refused: int8 needs compute capability 7.5"),
    (V100, "nf4", "gemma-1.1-7b", "float32", False, "needs: CUDA 11.8 to 12.8"),
    (RTX_8000, "none", "llama-3-8b", "float16", True, None),
    (RTX_8000, "int8", "llama-3-8b", "float16", True, None),
    (RTX_8000, "nf4", "llama-3-8b", "float16", True, None),
    (RTX_8000, "none", "gemma-1.1-7b", "float32", False, None),
    (RTX_8000, "int8", "gemma-1.1-7b", "float32", False, "degraded: cast their input to float16"),
    (RTX_8000, "nf4", "gemma-1.1-7b", "float32", False, None),
    (A100, "none", "llama-3-8b", "bfloat16", False, None),
    (A100, "int8", "llama-3-8b", "bfloat16", False, None),
    (A100, "nf4", "llama-3-8b", "bfloat16", False, None),
    (A100, "none", "gemma-1.1-7b", "bfloat16", False, None),
    (A100, "int8", "gemma-1.1-7b", "bfloat16", False, "degraded: cast their input to float16"),
    (A100, "nf4", "gemma-1.1-7b", "bfloat16", False, None),
]


@pytest.mark.parametrize(("gpu", "quantization", "like", "dtype", "scaled", "says"), TRAINING)
def test_training_precision(
    gpu: Accelerator | None,
    quantization: str,
    like: str,
    dtype: str,
    scaled: bool,
    says: str | None,
) -> None:
    capability = gpu.compute_capability if gpu else None
    alike = [m for m in MODELS.values() if m.float16_overflows == (like == "gemma-1.1-7b")]
    assert MODELS[like] in alike
    for model in alike:
        found = training_precision(model, capability, quantization)
        assert (found.compute, found.grad_scaling) == (dtype, scaled)
        # The grad scaler crashes on float16 parameters, and adapters lose small updates in 16 bits.
        assert found.adapters == "float32"
        assert found.attention == "sdpa"
        for field in ("degraded", "needs", "refused"):
            said = getattr(found, field)
            if says is not None and says.startswith(f"{field}: "):
                assert says.removeprefix(f"{field}: ") in said
            else:
                assert said is None


def test_the_table_holds_every_case() -> None:
    cases = {(gpu and gpu.name, quantization, like) for gpu, quantization, like, *_ in TRAINING}
    assert len(cases) == len(TRAINING) == 4 * 3 * 2


@pytest.mark.parametrize(
    ("model", "gpu", "dtype", "field", "says"),
    [
        ("llama-3-8b", V100, "bfloat16", "refused", "bfloat16 needs compute capability 8.0"),
        ("llama-3-8b", RTX_8000, "bfloat16", "refused", "this GPU has compute capability 7.5"),
        ("llama-3-8b", None, "float16", "refused", "float16 needs a GPU"),
        ("gemma-1.1-7b", A100, "float16", "degraded", "leave the range of float16"),
        ("gemma-1.1-7b", V100, "float32", "degraded", None),
        ("llama-3-8b", None, "bfloat16", "refused", None),
    ],
)
def test_a_dtype_that_was_asked_for(
    model: str, gpu: Accelerator | None, dtype: str, field: str, says: str | None
) -> None:
    capability = gpu.compute_capability if gpu else None
    found = training_precision(MODELS[model], capability, "none", dtype)
    assert found.compute == dtype
    said = getattr(found, field)
    assert said is None if says is None else says in said


@pytest.mark.parametrize(("quantization", "dtype"), [("int4", "auto"), ("none", "float8")])
def test_unknown_precisions_are_errors(quantization: str, dtype: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown (dtype|quantization)"):
        training_precision(MODELS["distilgpt2"], None, quantization, dtype)
