import shutil
import subprocess

import pytest

from medsweep.cli import VERBS, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_every_verb_and_the_options_of_one_are_completed(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in script] == []
    assert "metrics-port" in script


def test_bash_completes_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    assert main(["completion", "bash"]) == 0
    asked = """
    COMP_WORDS=(medsweep recom); COMP_CWORD=1; COMP_LINE="medsweep recom"; COMP_POINT=14
    _shtab_medsweep; echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        [bash, "-c", capsys.readouterr().out + asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "recommend"
