import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.prediction.roofline import (
    LAUNCH_S,
    Machine,
    datasheet_machine,
    decode_step,
    lora_step,
    prefill,
    read_bytes,
)

LLAMA = MODELS["llama-3-8b"]
LOOKED_UP = 128_256 * 4096  # the embedding: a row a token is read, and nothing multiplied
FLOAT16 = {"dtype": "float16", "quantization": "none"}
# No launches to wait for: what is left can be worked out by hand.
IDEAL = Machine(bytes_per_s=1e12, flops=1e14, launch_s=0.0, overlaps=True)


def test_decoding_one_sequence_reads_every_weight_and_its_cache_once() -> None:
    cache = 1000 * 2 * 32 * 8 * 128 * 2
    step = decode_step(LLAMA, IDEAL, **FLOAT16, batch=1, context=1000)
    assert step.seconds == pytest.approx(((LLAMA.parameters - LOOKED_UP) * 2 + cache) / 1e12)
    assert step.bound == "bandwidth"


def test_a_large_batch_is_bound_by_computing() -> None:
    step = decode_step(LLAMA, IDEAL, **FLOAT16, batch=512, context=1)
    assert step.seconds == pytest.approx(2 * (LLAMA.parameters - LOOKED_UP) * 512 / 1e14)
    assert step.bound == "compute"


def test_four_bits_read_a_quarter_their_constants_and_the_output_layer() -> None:
    share = read_bytes(LLAMA, dtype="float16", quantization="nf4") / read_bytes(LLAMA, **FLOAT16)
    # The output layer, 0.53 of 7.5 billion weights, stays in 16 bits.
    assert share == pytest.approx((6.98 * 0.55 + 0.525 * 2) / (7.505 * 2), rel=0.01)


def test_training_takes_twice_the_operations_of_a_prompt() -> None:
    tokens = 8 * 2048
    prompt = prefill(LLAMA, IDEAL, **FLOAT16, tokens=tokens)
    training = lora_step(LLAMA, IDEAL, **FLOAT16, tokens=tokens)
    assert training.seconds == pytest.approx(2 * prompt.seconds)


def test_launches_add_up_where_nothing_overlaps() -> None:
    gpu = Machine(1e12, 1e14, launch_s=LAUNCH_S, overlaps=True)
    cpu = Machine(1e12, 1e14, launch_s=LAUNCH_S, overlaps=False)
    alone = decode_step(LLAMA, IDEAL, **FLOAT16, batch=1, context=1).seconds
    overlapped = decode_step(LLAMA, gpu, **FLOAT16, batch=1, context=1)
    assert overlapped.bound == "launches"
    summed = decode_step(LLAMA, cpu, **FLOAT16, batch=1, context=1).seconds
    assert summed == pytest.approx(alone + overlapped.seconds)


def test_an_a100_is_no_faster_than_its_launches_on_one_request() -> None:
    """The paper found an A100 slower than a V100: past the launches, bandwidth buys nothing."""
    times = {
        name: decode_step(
            MODELS["distilgpt2"], machine, dtype="float16", quantization="none", batch=1, context=64
        )
        for name in ("1xv100-1cpu", "1xa100-1cpu")
        if (machine := datasheet_machine(PROFILES[name], "float16")) is not None
    }
    assert len(times) == 2
    assert times["1xv100-1cpu"] == times["1xa100-1cpu"]
    assert times["1xa100-1cpu"].bound == "launches"


def test_a_dtype_that_is_not_native_has_no_datasheet() -> None:
    assert datasheet_machine(PROFILES["1xv100-1cpu"], "bfloat16") is None
