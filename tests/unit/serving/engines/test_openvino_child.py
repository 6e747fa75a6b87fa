"""The process that OpenVINO's pipeline runs in, without a model."""

import subprocess
import sys
from pathlib import Path

import pytest

from medsweep.errors import StageError
from medsweep.serving.engines.openvino_process import CHILD, OpenvinoProcess
from support import package


def test_it_imports_nothing_heavy_of_ours() -> None:
    heavy = "{'torch', 'transformers', 'ray', 'peft', 'numpy'}"
    code = f"import sys, {CHILD}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def process(tmp_path: Path) -> OpenvinoProcess:
    package("openvino_genai")
    return OpenvinoProcess(tmp_path, 4, 1)


def test_it_ends_when_its_parent_has_gone(process: OpenvinoProcess) -> None:
    process.link.close()
    assert process._process.wait(60) == 0
    process.close()


def test_what_it_dies_of_is_said(process: OpenvinoProcess) -> None:
    process.send([["use", None, False]])  # there is no model in the folder
    with pytest.raises(StageError, match="ended with exit code 1:\n(.*\n)*RuntimeError"):
        process.receive()
    assert not process.alive
    with pytest.raises(StageError, match="ended with exit code 1"):
        process.send([["stop", 1]])
    process.close()
