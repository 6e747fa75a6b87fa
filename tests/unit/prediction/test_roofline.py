from dataclasses import replace

import pytest

from medsweep.hardware.catalog import A100, H100, L4, PROFILES, V100
from medsweep.hardware.profile import Accelerator
from medsweep.models.catalog import MODELS
from medsweep.prediction.roofline import (
    LAUNCH_S,
    PEFT,
    Machine,
    datasheet_machine,
    decode_step,
    lora_step,
    prefill,
    read_bytes,
    served_by,
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


@pytest.mark.parametrize(
    ("gpu", "dtype", "rows"),
    [(V100, "float16", 8), (A100, "bfloat16", 33), (L4, "bfloat16", 33), (H100, "bfloat16", 8)],
    ids=lambda each: getattr(each, "name", str(each)),
)
def test_many_rows_unpack_four_bits_in_memory(gpu: Accelerator, dtype: str, rows: int) -> None:
    """0.55 bytes read, 2 written and 2 read again for each weight of the blocks."""
    machine = datasheet_machine(replace(PROFILES["1xv100-1cpu"], accelerator=gpu), dtype)
    assert machine is not None
    how = {"dtype": dtype, "quantization": "nf4", "execution": served_by("continuous", gpu=True)}
    few, many = (decode_step(LLAMA, machine, **how, batch=n, context=0) for n in (rows - 1, rows))
    blocks = LLAMA.computed_parameters - LOOKED_UP
    assert many.seconds - few.seconds == pytest.approx(blocks * 4 / machine.bytes_per_s)
    assert many.seconds / few.seconds == pytest.approx(
        (blocks * 4.55 + LOOKED_UP * 2) / (blocks * 0.55 + LOOKED_UP * 2)
    )
    # A kernel that unpacks in its registers is possible, so this is no bound.
    assert many.least_s == few.least_s


def test_the_least_time_has_no_assumptions() -> None:
    """An A100 reads 1,555 GB/s at its peak: 15.0 GB of weights take at least 9.65 ms."""
    machine = datasheet_machine(PROFILES["1xa100-1cpu"], "bfloat16")
    assert machine is not None
    how = {"dtype": "bfloat16", "quantization": "none", "context": 0}
    step = decode_step(LLAMA, machine, **how, batch=1, execution=served_by("vllm", gpu=True))
    assert step.least_s == pytest.approx(LLAMA.computed_parameters * 2 / 1.555e12)
    assert step.seconds == pytest.approx(step.least_s / 0.8)
    both = datasheet_machine(PROFILES["2xa100-4cpu"], "bfloat16", gpus=2)
    assert both is not None
    split = decode_step(LLAMA, both, **how, batch=1, execution=served_by("vllm", gpu=True))
    assert split.least_s == pytest.approx(step.least_s / 2)
    eager = decode_step(LLAMA, machine, **how, batch=1, execution=served_by("generate", gpu=True))
    assert eager.least_s == step.least_s
    assert eager.bound == "launches"
    unknown = decode_step(LLAMA, IDEAL, **how, batch=1)
    assert unknown.least_s is None


def test_launches_are_those_of_the_engine() -> None:
    alone = Machine(1e15, 1e18, launch_s=1.0, overlaps=True)  # nothing but launches
    seconds = {
        name: decode_step(LLAMA, alone, **FLOAT16, batch=1, context=0, execution=execution).seconds
        for name, execution in {
            "peft": PEFT,
            "generate": served_by("generate", gpu=True),
            "continuous": served_by("continuous", gpu=True),
            "on a processor": served_by("continuous", gpu=False),
        }.items()
    }
    # 32 blocks of 7 matrices: 5.7 kernels each, 5 for PEFT's pair or 2 for ours, 23 outside.
    assert seconds["peft"] == pytest.approx(32 * 7 * 10.7 + 23)
    assert seconds["generate"] == seconds["on a processor"] == pytest.approx(32 * 7 * 7.7 + 23)
    assert seconds["continuous"] == 1.0


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
    assert times["1xv100-1cpu"].seconds == times["1xa100-1cpu"].seconds
    least = [times[name].least_s for name in ("1xv100-1cpu", "1xa100-1cpu")]
    assert least[0] is not None
    assert least[0] > (least[1] or least[0]), "at their peaks the A100 reads faster"
    assert times["1xa100-1cpu"].bound == "launches"


def test_a_dtype_that_is_not_native_has_no_datasheet() -> None:
    assert datasheet_machine(PROFILES["1xv100-1cpu"], "bfloat16") is None
