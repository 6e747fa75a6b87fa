"""The `openvino` engine: OpenVINO GenAI's continuous batching, for machines without a GPU.

The weights have 8 or 4 bits. OpenVINO applies one adapter to all rows of a step, so only requests
for the same model name share a batch. New ones join it while no other name waits; otherwise the
names take turns. The pipeline runs in a process of its own; `openvino_child` explains why.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault, InputError
from medsweep.models.loading import LOCAL, refuse_code
from medsweep.serving.engines.child_process import ChildProcess
from medsweep.serving.engines.compatibility import (
    ENGINE_QUANTIZATIONS,
    missing_package,
    no_gguf,
)
from medsweep.serving.engines.process_engine import ProcessEngine
from medsweep.serving.protocol import EngineSettings

CHILD = "medsweep.serving.engines.openvino_child"


class OpenvinoEngine(ProcessEngine):
    """Schedules requests for OpenVINO GenAI's pipeline.

    Args:
        settings: the model must have a GGUF file. Quantization is int8 or int4; `none` means int8.
            `dtype` is ignored: OpenVINO chooses what the CPU computes fastest.

    Raises:
        EnvironmentFault: OpenVINO GenAI is not installed.
        InputError: a model without a GGUF file.
    """

    def __init__(self, settings: EngineSettings) -> None:
        if (without := no_gguf(settings.model)) is not None:
            raise InputError(without)
        if (lacking := missing_package("openvino")) is not None:
            raise EnvironmentFault(lacking)
        if settings.quantization == "none":
            # A sweep must name the quantization, because its results record it; `serve` need not.
            settings = replace(settings, quantization=ENGINE_QUANTIZATIONS["openvino"][0])
        super().__init__(settings)

    def _load_base(self, folder: Path) -> Any:
        from medsweep.serving.engines.openvino_ir import ir_folder

        self._ir = ir_folder(self._settings.model, self._settings.quantization, folder)
        self._start()  # now, so that it imports its packages meanwhile
        # Not AutoTokenizer: it imports torch, which takes seconds and is not needed here.
        from transformers import PreTrainedTokenizerFast

        refuse_code(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder, **LOCAL)

    def _open_process(self) -> ChildProcess:
        arguments = [str(self._ir), self._settings.max_batch_size, self._settings.cpus]
        command = [sys.executable, "-m", CHILD, json.dumps(arguments)]
        return ChildProcess("openvino", command, on_exit=self._exited)

    def _move(self, process: ChildProcess) -> None:
        if not self._computing:
            self._discard()  # OpenVINO restores the cores that it found at its start

    def _admit(self) -> None:
        room = self._settings.max_batch_size - len(self._running)
        if not self._running:
            new = self._waiting.take_alike(room, lambda state: state.adapter)
            if new:  # the process has no rows now
                self._commands.append(["use", new[0].adapter, bool(self._adapters)])
            self._begin(new)
        elif room and self._waiting.only(self._running[0].adapter):
            self._begin(self._waiting.take(room))
