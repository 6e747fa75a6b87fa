import pytest

from medsweep.cli.job import run_job
from medsweep.errors import EnvironmentFault


def test_a_job_ends_with_the_codes_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> int:
        raise KeyboardInterrupt

    def without_a_node() -> int:
        raise EnvironmentFault("no Ray node")

    assert (run_job(lambda: 0), run_job(lambda: 1)) == (0, 1)
    assert capsys.readouterr().err == ""
    assert run_job(stopped) == 3
    assert "submit the sweep again to resume" in capsys.readouterr().err
    assert run_job(without_a_node) == 4
    assert capsys.readouterr().err == "medsweep: no Ray node\n"


def test_what_nobody_expected_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_job(lambda: 1 // 0)
