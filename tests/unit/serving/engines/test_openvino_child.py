"""The process that OpenVINO's pipeline runs in, without a model."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsweep.serving.engines.child_process import ChildProcess
from medsweep.serving.engines.openvino import CHILD
from medsweep.serving.protocol import EngineDied
from support import package


def test_it_imports_nothing_heavy_of_ours() -> None:
    heavy = "{'torch', 'transformers', 'ray', 'peft', 'numpy'}"
    code = f"import sys, {CHILD}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def ended() -> threading.Event:
    return threading.Event()


@pytest.fixture
def process(tmp_path: Path, ended: threading.Event) -> Iterator[ChildProcess]:
    package("openvino_genai")
    command = [sys.executable, "-m", CHILD, json.dumps([str(tmp_path), 4, 1])]
    process = ChildProcess("openvino", command, on_exit=lambda _: ended.set())
    yield process
    process.close()


def test_it_ends_when_its_parent_has_gone(process: ChildProcess, ended: threading.Event) -> None:
    process.link.close()
    assert ended.wait(60)
    assert process.end.endswith("ended with exit code 0")


def test_what_it_dies_of_is_said(process: ChildProcess) -> None:
    process.send([["use", None, False]])  # there is no model in the folder
    with pytest.raises(EngineDied, match="engine openvino ended with exit code 1, and another"):
        process.receive()
    assert not process.alive
    assert "RuntimeError" in process.last_words()
    with pytest.raises(EngineDied, match="ended with exit code 1"):
        process.send([["stop", 1]])
