import pytest

from medsweep.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-concurrent", "0"], "--max-concurrent: Input should be greater"),
        (["--timeout", "-1"], "--timeout: Input should be greater than 0"),
        (["--engine", "generat"], "--engine: unknown engine 'generat' (did you mean 'generate'?)"),
        (["--dtype", "float8"], "--dtype: Input should be"),
        (["--adapter", "a=x", "--adapter", "a=y"], "'a' is used twice; write NAME=DIR"),
        (["--adapter", "none"], "none: no such folder; `medsweep adapters list FOLDER` finds"),
        (["--adapter-root", "none"], "nothing to serve"),
        (["--host", "0.0.0.0", "--engine", "null"], "MEDSWEEP_API_KEY"),
        (["--api-key-file", "none"], "--api-key-file none"),
        (["--sweep", "none.yaml"], "none.yaml"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MEDSWEEP_API_KEY", raising=False)
    assert main(["serve", "--port", "0", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_an_address_in_use_is_the_machine_s_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--engine", "null", "--port", "70000"]) == 4
    assert "give another --host or --port" in capsys.readouterr().err
