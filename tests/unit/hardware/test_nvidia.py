import os
from pathlib import Path

import pytest

from medsweep.hardware import nvidia
from medsweep.hardware.nvidia import ObservedGpu, cuda_version, observe_gpus

ROWS = [
    "0, GPU-aa11, Tesla V100-SXM2-16GB, 570.86.15, 16384, 7.0, [N/A]",
    "1, GPU-bb22, NVIDIA A100-SXM4-40GB, 570.86.15, 40960, 8.0, Enabled",
]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for nvidia-smi, which the test fills, first on the path."""
    script = tmp_path / "nvidia-smi"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return script


def say(script: Path, *lines: str, status: int = 0) -> None:
    body = "\n".join(f"echo '{line}'" for line in lines)
    script.write_text(f"#!/bin/sh\n{body}\nexit {status}\n")


def test_rows_become_gpus_and_a_slice_is_marked(smi: Path) -> None:
    say(smi, *ROWS)
    assert observe_gpus() == (
        ObservedGpu("Tesla V100-SXM2-16GB", "570.86.15", 16 * 2**30, (7, 0)),
        ObservedGpu("NVIDIA A100-SXM4-40GB (MIG)", "570.86.15", 40 * 2**30, (8, 0)),
    )


@pytest.mark.parametrize(
    ("visible", "count"), [("0", 1), ("1,0", 2), ("GPU-bb22", 1), ("", 0), ("-1", 0), ("10", 0)]
)
def test_hidden_gpus_are_left_out(
    smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, count: int
) -> None:
    say(smi, *ROWS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(observe_gpus()) == count


@pytest.mark.parametrize("line", ["No devices were found", ROWS[0].replace("16384", "[N/A]")])
def test_what_is_no_row_is_no_gpu(smi: Path, line: str) -> None:
    say(smi, line)
    assert observe_gpus() == ()


def test_a_failing_driver_is_no_gpu(smi: Path) -> None:
    say(smi, *ROWS, status=9)
    assert observe_gpus() == ()


def test_a_hanging_driver_is_no_gpu(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(nvidia, "_TIMEOUT_S", 0.2)
    assert observe_gpus() == ()


@pytest.mark.parametrize("line", ["CUDA Version        : 12.8", "CUDA UMD Version    : 12.8"])
def test_cuda_version(smi: Path, line: str) -> None:
    say(smi, "NVIDIA-SMI version  : 570.86.15", "DRIVER version      : 570.86.15", line)
    assert cuda_version() == "12.8"


def test_without_the_binary_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert observe_gpus() == ()
    assert cuda_version() is None
