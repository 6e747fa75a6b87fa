"""The settings that vLLM is started with, and what is said where it is not installed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from medsweep.errors import EnvironmentFault, InputError
from medsweep.models.catalog import MODELS
from medsweep.serving.engines.environment import ENVIRONMENTS
from medsweep.serving.engines.vllm import (
    VllmEngine,
    child_variables,
    engine_arguments,
    kv_bytes,
    lora_rank,
)
from medsweep.serving.protocol import EngineSettings

SMOLLM2 = EngineSettings("vllm", MODELS["smollm2-135m"], "bfloat16", max_batch_size=16)


def test_what_is_asked_for_decides_the_settings() -> None:
    plain = engine_arguments(SMOLLM2, Path("base"), 0, 0)
    assert not {name for name in plain if "lora" in name}  # it costs speed, adapters or not
    assert plain["max_model_len"] == 8192
    assert plain["enforce_eager"] is True
    assert plain["enable_prefix_caching"] is False
    short = engine_arguments(replace(SMOLLM2, max_model_len=300), Path("base"), 2, 16)
    assert (short["max_loras"], short["max_lora_rank"]) == (4, 16)
    two_gpus = engine_arguments(replace(SMOLLM2, gpus=2), Path("base"), 0, 0)
    assert two_gpus["tensor_parallel_size"] == 2
    assert not {"enforce_eager", "kv_cache_memory_bytes"} & two_gpus.keys()
    assert engine_arguments(replace(SMOLLM2, gpus=1), Path("base"), 2, 16)["max_loras"] == 3


def test_the_kv_cache_of_a_cpu_holds_a_full_batch_where_memory_allows_it() -> None:
    # 30 layers, 3 KV heads of 64, two values of 2 bytes: 23,040 bytes per token.
    much = 2**40
    assert kv_bytes(SMOLLM2, 8192, much) == (8192 * 16 + 128) * 23_040
    assert kv_bytes(SMOLLM2, 300, much) == (384 * 16 + 128) * 23_040  # whole blocks
    assert kv_bytes(SMOLLM2, 8192, 4 * 10**9) == (339 + 1) * 128 * 23_040  # 10**9 bytes: 339 blocks
    assert kv_bytes(SMOLLM2, 8192, 0) == (8192 + 128) * 23_040


@pytest.mark.parametrize(("ranks", "chosen"), [([4], 8), ([8, 16], 16), ([65], 128), ([512], 512)])
def test_the_rank_is_the_lowest_of_vllm_s_that_holds_all(ranks: list[int], chosen: int) -> None:
    assert lora_rank(ranks) == chosen


def test_a_rank_beyond_vllm_s_is_refused() -> None:
    with pytest.raises(InputError, match="ranks up to 512, not 600"):
        lora_rank([8, 600])


def test_its_process_gets_no_secrets_and_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("MEDSWEEP_API_KEY", "secret")
    given = child_variables(ENVIRONMENTS["vllm-cpu"], replace(SMOLLM2, cpus=3))
    assert "secret" not in given.values()
    assert (given["OMP_NUM_THREADS"], given["HF_HUB_OFFLINE"]) == ("3", "1")
    on_gpu = child_variables(ENVIRONMENTS["vllm"], replace(SMOLLM2, gpus=1))
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in on_gpu
    scripts = ENVIRONMENTS["vllm"].folder / "bin"
    assert on_gpu["PATH"].split(os.pathsep)[:2] == [str(scripts), *os.get_exec_path()[:1]]


@pytest.mark.parametrize(
    ("ours", "device", "theirs"),
    [
        (None, 1, "1"),
        ("2,5", 1, "5"),
        ("GPU-a1, MIG-b2", 1, "MIG-b2"),
        ("3", 0, "3"),
        ("2,,5,", 1, "5"),
    ],
)
def test_each_replica_s_process_sees_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, ours: str | None, device: int, theirs: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if ours is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ours)
    replica = replace(SMOLLM2, gpus=1, device=device)
    variables = child_variables(ENVIRONMENTS["vllm"], replica)
    assert variables["CUDA_VISIBLE_DEVICES"] == theirs
    assert engine_arguments(replica, Path("base"), 0, 0)["tensor_parallel_size"] == 1
    split = child_variables(ENVIRONMENTS["vllm"], replace(SMOLLM2, gpus=2))
    assert split.get("CUDA_VISIBLE_DEVICES") == ours


def test_where_it_is_not_installed_it_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSWEEP_ENGINES", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="medsweep engines install vllm --cpu"):
        VllmEngine(SMOLLM2)
    with pytest.raises(EnvironmentFault, match="medsweep engines install vllm$"):
        VllmEngine(replace(SMOLLM2, gpus=1))
