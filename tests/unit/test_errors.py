import pickle

import pytest

from medsweep import errors
from medsweep.errors import ConfigError, Fault, MedSweepError, UnknownName, did_you_mean


def every_error() -> list[MedSweepError]:
    return [
        MedSweepError("root"),
        errors.InputError("input"),
        ConfigError("a.yaml", [Fault("name", "is required and was not given", 3)]),
        UnknownName("model", "lama-3", ["llama-3", "gemma"]),
        errors.DatasetError("dataset"),
        errors.StageError("stage"),
        errors.Interrupted("stopped"),
        errors.EnvironmentFault("disk"),
    ]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("MedSweepError", 1),
        ("InputError", 2),
        ("ConfigError", 2),
        ("UnknownName", 2),
        ("DatasetError", 2),
        ("StageError", 1),
        ("Interrupted", 3),
        ("EnvironmentFault", 4),
    ],
)
def test_exit_codes_are_stable(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_the_tree_in_the_docstring_names_every_error_with_its_code() -> None:
    drawn = errors.__doc__ or ""
    for error in every_error():
        line = next(line for line in drawn.splitlines() if f"{type(error).__name__} " in line)
        assert f" {error.exit_code}  " in line


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_errors_cross_processes(error: MedSweepError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    text = str(UnknownName("model", "Lama-3", ["llama-3", "gemma"]))
    assert text == "unknown model 'Lama-3' (did you mean 'llama-3'?); known: gemma, llama-3"


def test_nothing_near_suggests_nothing() -> None:
    assert did_you_mean("zzz", ["gemma", "mistral"]) == ""


def test_faults_stand_in_the_order_of_the_file() -> None:
    error = ConfigError(
        "a.yaml", [Fault("b", "late", 9), Fault("set", "x"), Fault("a", "early", 2)]
    )
    assert str(error).splitlines() == [
        "a.yaml: 3 faults",
        "  set: x",
        "  line 2: a: early",
        "  line 9: b: late",
    ]
    assert str(ConfigError("a.yaml", [Fault("b", "one", 1)])).startswith("a.yaml: 1 fault\n")
