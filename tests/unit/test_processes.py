"""Every process of the package is started where its failure to start is reported."""

import ast
import errno
import subprocess
from pathlib import Path

import pytest

import medsweep
from medsweep.errors import EnvironmentFault, StageError
from medsweep.processes import start_process

PACKAGE = Path(medsweep.__file__).parent


def test_a_process_that_starts() -> None:
    with start_process("echo", ["echo", "here"], stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate()[0] == "here\n"


@pytest.mark.parametrize("fault", [StageError, EnvironmentFault])
def test_what_the_machine_says_is_in_the_message(
    fault: type[StageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(fault, match="^pip does not start: python: Cannot allocate memory$"):
        start_process("pip", ["python"], fault=fault)


def test_no_module_starts_a_process_without_reporting_that_it_cannot() -> None:
    """`subprocess.run` catches `OSError` where it is called."""
    starts = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        caught = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.Try)
            and any("OSError" in ast.dump(each.type) for each in node.handlers if each.type)
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
                starts.append(path.name)
                assert node in caught, f"{path}:{node.lineno}"
    assert starts == ["processes.py", "provenance.py", "environment.py"]
