"""The `vllm` engine: vLLM in an environment and a process of its own, on GPUs or the CPU.

vLLM does the batching and applies the adapters. Templates, tokens, stop texts and names are those
of every other engine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medsweep.cluster.isolation import secret_names
from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.hardware.cgroup import available_memory
from medsweep.hardware.nvidia import visible_name
from medsweep.models.cache import cache_root
from medsweep.models.loading import check_model_folder, load_tokenizer
from medsweep.models.precision import DTYPE_BYTES
from medsweep.serving.engines.child_process import ChildProcess
from medsweep.serving.engines.environment import EngineEnvironment, environment_of
from medsweep.serving.engines.low_rank import read_rank
from medsweep.serving.engines.process_engine import AdapterFile, ProcessEngine
from medsweep.serving.engines.request_state import RequestState
from medsweep.serving.engines.token_scores import named_scores
from medsweep.serving.protocol import EngineDied, EngineSettings, TokenScores

CHILD = Path(__file__).with_name("vllm_child.py")

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of `max_lora_rank` that vLLM 0.32 has."""

USUAL_RANK = 64
"""Highest rank of adapters that nobody has named yet."""

KV_BLOCK = 128
"""Tokens of a KV cache block on a CPU."""

MEMORY_SHARE = 4
"""The KV cache on a CPU may take one part in this many of the free memory."""


class VllmEngine(ProcessEngine):
    """Schedules requests for vLLM's process.

    Args:
        settings: with quantization none. LoRA is switched on only where there are adapters.

    Raises:
        EnvironmentFault: vLLM's environment is not installed.
        InputError: an adapter that this engine cannot serve.
        StageError: vLLM does not start.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._environment = environment_of("vllm", gpu=settings.gpus > 0)
        if not self._environment.installed:
            raise EnvironmentFault(f"engine vllm is not installed here: {self._environment.remedy}")
        ranks = [read_rank(adapter.folder) for adapter in settings.adapters.values()]
        self._slots = len(settings.adapters) + settings.max_adapters
        if settings.max_adapters:
            ranks.append(settings.max_rank or USUAL_RANK)
        self._max_rank = lora_rank(ranks) if ranks else 0
        self._details: dict[str, Any] = {}
        super().__init__(settings)

    def details(self) -> dict[str, Any]:
        """Return the settings that vLLM runs with."""
        return {**super().details(), **self._details}

    @property
    def scores_tokens(self) -> bool:
        """Whether it gives log-probabilities: not beside live adapters.

        On a CPU, vLLM 0.32 with LoRA fails when it scores a prompt, and ends.
        """
        return self._slots == 0

    def _load_base(self, folder: Path) -> Any:
        check_model_folder(folder)
        self._folder = folder
        tokenizer = load_tokenizer(folder)
        self._start()
        return tokenizer

    def _open_process(self) -> ChildProcess:
        arguments = engine_arguments(self._settings, self._folder, self._slots, self._max_rank)
        return ChildProcess(
            "vllm",
            [str(self._environment.python), "-I", str(CHILD), json.dumps(arguments)],
            environment=child_variables(self._environment, self._settings),
            on_exit=self._exited,
        )

    def _await_ready(self, process: ChildProcess) -> None:
        try:
            self._details = process.receive()["ready"]
        except EngineDied:
            raise StageError(f"vLLM does not start: {process.last_words()}") from None

    def _load_adapter(self, inner: str, files: AdapterFile) -> None:
        if files.rank > self._max_rank:
            files.copy.close()
            raise InputError(
                f"{files.adapter.folder}: its rank is {files.rank}, and this engine was started "
                + (f"for ranks up to {self._max_rank}" if self._max_rank else "without adapters")
            )
        super()._load_adapter(inner, files)

    def _admit(self) -> None:
        room = self._settings.max_batch_size - len(self._running)
        if room and self._waiting:
            self._begin(self._waiting.take(room))

    def _add_command(self, number: int, state: RequestState) -> list[Any]:
        return [*super()._add_command(number, state), state.adapter]

    def _score(self, adapter: str | None, ids: list[int], first: int, top: int) -> TokenScores:
        process = self._live_process()
        scored: list[Any] | None = [None]  # of a text of one token
        if len(ids) > 1:
            scored = self._request(process, ["score", ids, top], "scored")["scored"]
        if scored is None:
            raise InputError(
                f"engine vllm refuses to score {len(ids)} tokens with the {top} likeliest beside "
                "each; request fewer"
            )
        tops: list[list[tuple[int, float]] | None] = [
            each and [(token, value) for token, value in each] for each in scored
        ]
        own = [dict(each)[token] if each else None for token, each in zip(ids, tops, strict=True)]
        tokenizer = self._tokenizer.backend_tokenizer
        return named_scores(tokenizer, ids, own[first:], tops[first:], first=first, top=top)


def engine_arguments(
    settings: EngineSettings, folder: Path, slots: int, max_rank: int
) -> dict[str, Any]:
    """Return the fields of vLLM's `EngineArgs`.

    Args:
        settings: settings of the engine.
        folder: of the base model.
        slots: most adapters in memory.
        max_rank: highest rank of them.
    """
    length = settings.longest_request
    arguments: dict[str, Any] = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "generation_config": "vllm",  # no sampling defaults from the model's folder
        "dtype": settings.dtype,
        "max_num_seqs": settings.max_batch_size,
        "max_model_len": length,
        "enable_prefix_caching": settings.prefix_caching,
        "disable_log_stats": True,
    }
    if slots:
        # One more: an adapter that is replaced leaves after the other has come. On a CPU, vLLM 0.32
        # gives rows without an adapter the last slot's, which must therefore stay empty.
        held = slots + 1 if settings.gpus else slots + 2
        arguments |= {"enable_lora": True, "max_loras": held, "max_lora_rank": max_rank}
    if settings.gpus:
        arguments |= {"tensor_parallel_size": settings.gpus}
    else:
        memory = kv_bytes(settings, length, available_memory() or 0)
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": memory}
    return arguments


def kv_bytes(settings: EngineSettings, length: int, available: int) -> int:
    """Return the size of the KV cache on a CPU, in bytes.

    It holds a full batch of longest requests, but takes no more than a quarter of the memory; with
    less than that, vLLM has requests wait. One longest request always fits.

    Args:
        settings: settings of the engine.
        length: most tokens of a prompt and its answer.
        available: free memory of the machine and of the control group, in bytes; 0 if unknown.
    """
    block = KV_BLOCK * settings.model.kv_bytes_per_token(DTYPE_BYTES[settings.dtype])
    one = -(-length // KV_BLOCK)
    affordable = available // MEMORY_SHARE // block
    return block * (max(one, min(one * settings.max_batch_size, affordable)) + 1)


def lora_rank(ranks: Iterable[int]) -> int:
    """Return the lowest `max_lora_rank` of vLLM's that holds all ranks.

    Raises:
        InputError: there is none.
    """
    highest = max(ranks)
    for allowed in LORA_RANKS:
        if highest <= allowed:
            return allowed
    raise InputError(f"engine vllm serves adapters of ranks up to {LORA_RANKS[-1]}, not {highest}")


def child_variables(environment: EngineEnvironment, settings: EngineSettings) -> dict[str, str]:
    """Return the environment variables of vLLM's process: ours without secrets, and its own."""
    secret = secret_names(os.environ)
    variables = {name: value for name, value in os.environ.items() if name not in secret}
    variables |= {
        # On a GPU, FlashInfer compiles kernels with the environment's ninja.
        "PATH": f"{environment.folder / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(cache_root() / "vllm"),
        # At other levels it writes prompts' tokens.
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    if settings.gpus == 1:
        variables["CUDA_VISIBLE_DEVICES"] = visible_name(settings.device)
    if not settings.gpus:
        variables |= {
            # One process, so that no core is kept for a second one that waits for it.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the parent says which cores it has
        }
        if settings.cpus is not None:
            variables["OMP_NUM_THREADS"] = str(settings.cpus)
        # Intel's OpenMP lets waiting threads sleep; GNU's spin on cores that others need.
        openmp = environment.folder / "lib" / "libiomp5.so"
        if openmp.is_file():
            variables |= {"LD_PRELOAD": str(openmp), "KMP_BLOCKTIME": "1"}
    return variables
