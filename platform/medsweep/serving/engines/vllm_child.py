"""vLLM in a process of its own: run as a file by the Python of vLLM's environment.

That environment does not have MedSweep, so this imports only vLLM and the standard library. It runs
step after step, takes commands between two steps, and sends back the new tokens of all rows
together. It exits with its parent, and when vLLM's own processes end.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

IDLE_S = 1.0
"""How often an idle engine looks whether vLLM's own processes are alive."""

SCORED = "scored"
"""Id of the request that scores a text; those of answers are numbers."""


class Child:
    """Runs the engine and executes the parent's commands, which are the public methods.

    Args:
        link: connection to the parent.
        arguments: fields of vLLM's `EngineArgs`.
    """

    def __init__(self, link: Connection, arguments: dict[str, Any]) -> None:
        import vllm
        from vllm.exceptions import VLLMClientError
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.llm_engine import LLMEngine

        self._link, self._vllm, self._lora_request = link, vllm, LoRARequest
        self._refusals = (ValueError, VLLMClientError)  # vLLM's own is no ValueError
        self._new_tokens = RequestOutputKind.DELTA
        self._at_the_end = RequestOutputKind.FINAL_ONLY
        self._engine: Any = LLMEngine.from_engine_args(vllm.EngineArgs(**arguments))
        self._processes = len(multiprocessing.active_children())
        self._loras: dict[str, Any] = {}
        self._number = 0
        self._send({"ready": self._settings()})

    def run(self) -> None:
        """Run steps and commands until the parent has gone."""
        while True:
            while not self._engine.has_unfinished_requests() or self._link.poll():
                while not self._link.poll(IDLE_S):
                    if len(multiprocessing.active_children()) < self._processes:
                        raise RuntimeError("a process of vLLM has ended")
                for name, *arguments in json.loads(self._link.recv_bytes()):
                    getattr(self, name)(*arguments)
            self._step()

    def _step(self) -> Any:
        """Run a step, send its tokens, and return the output of a scored text that has ended."""
        rows, scored = [], None
        for output in self._engine.step():
            if output.request_id == SCORED:
                scored = output
            else:
                piece = output.outputs[0]
                rows.append([int(output.request_id), list(piece.token_ids), output.finished])
        if rows:
            self._send({"rows": rows})
        return scored

    def load(self, adapter: str, file: str, scale: float) -> None:
        """Read an adapter and report whether that worked.

        Args:
            adapter: name that later commands use.
            file: file of its tensors; vLLM reads the configuration beside it.
            scale: not used; vLLM has it from the configuration.
        """
        self._number += 1
        request = self._lora_request(adapter, self._number, os.path.dirname(file))
        try:
            loaded = self._engine.add_lora(request)
            error = None if loaded else "vLLM did not load it"
        except Exception as fault:  # noqa: BLE001 whatever vLLM has against it
            error = f"{type(fault).__name__}: {fault}"
        if error is None:
            self._loras[adapter] = request
        self._send({"loaded": adapter, "error": error})

    def drop(self, adapter: str) -> None:
        """Forget an adapter."""
        request = self._loras.pop(adapter, None)
        if request is not None:
            self._engine.remove_lora(request.lora_int_id)

    def add(
        self,
        row: int,
        prompt_ids: list[int],
        max_tokens: int,
        stop_ids: list[int],
        sampling: list[float] | None,
        adapter: str | None,
    ) -> None:
        """Add a row to the batch.

        Args:
            row: number of the row.
            prompt_ids: token ids of the prompt.
            max_tokens: most output tokens.
            stop_ids: ids of the tokens that end the answer.
            sampling: temperature, top_p and seed; None means greedy.
            adapter: name of a loaded adapter; None is the base model.
        """
        temperature, top_p, seed = sampling or (0.0, 1.0, 0)
        parameters = self._vllm.SamplingParams(
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=int(seed) if sampling else None,
            stop_token_ids=stop_ids,
            ignore_eos=True,  # `stop_ids` holds all that end an answer
            detokenize=False,
            output_kind=self._new_tokens,
        )
        try:
            self._engine.add_request(
                str(row),
                {"type": "token", "prompt_token_ids": prompt_ids},
                parameters,
                lora_request=self._loras[adapter] if adapter is not None else None,
            )
        except (KeyError, *self._refusals):  # it does not fit, or its adapter has gone
            self._send({"rows": [[row, [], True]]})

    def score(self, ids: list[int], top: int) -> None:
        """Report the log-probability of each token of a text, and the likeliest beside it.

        The report is None if vLLM refuses the text. Its reason may quote it, so it is left out.

        Args:
            ids: token ids of the text, at least two.
            top: how many of the likeliest tokens.
        """
        # vLLM scores a prompt only on the way to a token. The text's last one is that token, so
        # that a text may fill the model's context.
        parameters = self._vllm.SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=top,
            logprobs=top,
            allowed_token_ids=ids[-1:],
            ignore_eos=True,
            detokenize=False,
            output_kind=self._at_the_end,
        )
        prompt = {"type": "token", "prompt_token_ids": ids[:-1]}
        try:
            self._engine.add_request(SCORED, prompt, parameters)
        except self._refusals:
            self._send({"scored": None})
            return
        output = None
        while output is None:
            output = self._step()
        scores = [
            each and [[token, value.logprob] for token, value in each.items()]
            for each in [*output.prompt_logprobs, *output.outputs[0].logprobs]
        ]
        self._send({"scored": scores})

    def stop(self, row: int) -> None:
        """Stop a row, unless it has finished."""
        self._engine.abort_request([str(row)])

    def _settings(self) -> dict[str, Any]:
        """Return what vLLM decided, for the results."""
        config = self._engine.vllm_config
        cache, scheduler, lora = config.cache_config, config.scheduler_config, config.lora_config
        return {
            "vllm": self._vllm.__version__,
            "max_model_len": config.model_config.max_model_len,
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "chunked_prefill": bool(scheduler.enable_chunked_prefill),
            "prefix_caching": bool(cache.enable_prefix_caching),
            "kv_cache_tokens": (cache.num_gpu_blocks or 0) * cache.block_size,
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            "max_loras": lora.max_loras if lora else 0,
            "max_lora_rank": lora.max_lora_rank if lora else 0,
            "compiled": not config.model_config.enforce_eager,
        }

    def _send(self, message: dict[str, Any]) -> None:
        self._link.send_bytes(json.dumps(message).encode())


def main() -> None:
    """Serve the parent through standard input, which is a socket."""
    link = Connection(os.dup(0))  # not inheritable, so that it ends with this process
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent left
        Child(link, json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
