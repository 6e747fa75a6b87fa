from pathlib import Path
from textwrap import dedent
from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from medsweep.config import Closed, dotted, load_config
from medsweep.errors import ConfigError, InputError


class Point(Closed):
    rate: float = Field(gt=0)
    arrivals: Literal["constant", "poisson"] = "constant"


class Load(Closed):
    points: list[Point] = Field(min_length=1)
    repeats: int = Field(default=3, ge=1)
    profile: str | list[str] = "host"


class Data(Closed):
    path: str | None = None
    local: bool = False

    @model_validator(mode="after")
    def _local_needs_path(self) -> "Data":
        if self.local and self.path is None:
            raise ValueError("local needs `path`")
        return self


class Settings(Closed):
    name: str
    seed: int = 0
    data: Data = Data()
    load: Load
    extra_points: dict[str, Point] = {}

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 8:
            raise ValueError(f"{name!r} is longer than 8 characters")
        return name


GOOD = """\
name: demo
load:
  points:
    - rate: 2.0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def faults(folder: Path, text: str, *overrides: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load_config(Settings, written(folder, text), overrides)
    assert caught.value.exit_code == 2
    return [(fault.line, fault.field, fault.problem) for fault in caught.value.faults]


def test_a_good_file_and_its_defaults(tmp_path: Path) -> None:
    settings = load_config(Settings, written(tmp_path, GOOD))
    assert settings.load.points == [Point(rate=2.0)]
    assert (settings.seed, settings.load.repeats) == (0, 3)


def test_configuration_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_config(Settings, written(tmp_path, GOOD))
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 1


def test_all_faults_at_once_each_with_its_line(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """\
        name: much-too-long
        sede: 1
        data:
          local: true
        load:
          repeats: 0
          points:
            - rate: 1.0
              arrivals: poison
            - arrivals: constant
              burst: 3
        """,
    )
    assert [(line, field) for line, field, _ in found] == [
        (1, "name"),
        (2, "sede"),
        (3, "data"),
        (6, "load.repeats"),
        (9, "load.points[0].arrivals"),
        (10, "load.points[1].rate"),
        (11, "load.points[1].burst"),
    ]
    problems = {field: problem for _, field, problem in found}
    assert problems["name"] == "'much-too-long' is longer than 8 characters"
    assert problems["sede"] == (
        "unknown field (did you mean 'seed'?); known: data, extra_points, load, name, seed"
    )
    assert problems["data"] == "local needs `path`"
    assert problems["load.repeats"].endswith("greater than or equal to 1; given: 0")
    assert problems["load.points[0].arrivals"] == (
        "'poison' is not allowed (did you mean 'poisson'?); allowed: constant, poisson"
    )
    assert problems["load.points[1].rate"] == "is required and was not given"
    # The fields of a point, not those of the sweep.
    assert problems["load.points[1].burst"] == "unknown field; known: arrivals, rate"


def test_keys_given_twice(tmp_path: Path) -> None:
    found = faults(tmp_path, GOOD + "  repeats: 2\n  repeats: 3\nname: again\n")
    assert found == [
        (6, "load.repeats", "given twice; keep one"),
        (7, "name", "given twice; keep one"),
    ]


def test_a_syntax_error_is_the_only_fault_and_has_its_line(tmp_path: Path) -> None:
    [(line, field, problem)] = faults(tmp_path, "name: demo\nload:\n  points: [1, 2\nseed: 3\n")
    assert (line, field) == (4, "(file)")
    assert problem.startswith("not YAML: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be a mapping of fields to values, such as `name: x`; given: nothing"),
        ("- name\n", "must be a mapping of fields to values, such as `name: x`; given: a list"),
        ("name\n", "must be a mapping of fields to values, such as `name: x`; given: one value"),
        ("name: a\x07b\n", "not YAML: unacceptable character #x0007"),
        (
            "name: 2026-13-01\n",
            "not YAML: a date, or a value after a tag, that is none (month must be in 1..12)",
        ),
        ("name: !!python/name:os.system x\n", "not YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_mapping(tmp_path: Path, text: str, problem: str) -> None:
    [(_, field, found)] = faults(tmp_path, text)
    assert field == "(file)"
    assert found.startswith(problem)


def test_types_are_not_guessed(tmp_path: Path) -> None:
    [(line, field, problem)] = faults(tmp_path, GOOD.replace("name: demo", "name: 7"))
    assert (line, field) == (1, "name")
    assert problem.endswith("given: 7")


def test_a_union_is_named_by_its_field(tmp_path: Path) -> None:
    found = faults(tmp_path, GOOD + "  profile: 3\n")
    assert {(line, field) for line, field, _ in found} == {(5, "load.profile")}


def test_faults_below_a_mapping_of_models(tmp_path: Path) -> None:
    [(line, field, problem)] = faults(tmp_path, GOOD + "extra_points:\n  peak: {rate: 1.0, x: 2}\n")
    assert (line, field) == (6, "extra_points.peak.x")
    assert problem == "unknown field; known: arrivals, rate"


def test_overrides_are_dotted_and_typed(tmp_path: Path) -> None:
    overrides = ["load.repeats=5", "data.path=my.csv", "data.local=true", "load.profile=[a, b]"]
    settings = load_config(Settings, written(tmp_path, GOOD), overrides)
    assert settings.load.repeats == 5
    assert settings.data == Data(path="my.csv", local=True)
    assert settings.load.profile == ["a", "b"]


def test_an_override_mends_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "  repeats: 0\n")
    assert load_config(Settings, path, ["load.repeats=2"]).load.repeats == 2


@pytest.mark.parametrize("override", ["load.repeats=many", "load.repaets=2"])
def test_a_wrong_override_names_its_whole_field_and_no_line(tmp_path: Path, override: str) -> None:
    [(line, field, _)] = faults(tmp_path, GOOD, override)
    assert (line, field) == (None, override.partition("=")[0])


def test_what_stood_below_an_override_has_no_line_any_more(tmp_path: Path) -> None:
    [(line, field, _)] = faults(tmp_path, GOOD, "load.points=[{rate: -1.0}]")
    assert (line, field) == (None, "load.points[0].rate")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed", "expected field=value"),
        ("=3", "expected field=value"),
        ("load.=3", "expected field=value"),
        (".seed=3", "expected field=value"),
        ("name.first=3", "'name' is not a mapping"),
        ("load.points.0=3", "'points' is not a mapping"),
        ("seed=[1", "the value is not YAML"),
    ],
)
def test_a_bad_override_is_refused(tmp_path: Path, override: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        load_config(Settings, written(tmp_path, GOOD), [override])
    assert not isinstance(caught.value, ConfigError)
    assert f"--set {override}" in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_config(Settings, tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_config(Settings, tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_config(Settings, tmp_path / "latin.yaml")


def test_dotted() -> None:
    assert dotted(("load", "points", 0, "rate")) == "load.points[0].rate"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2e-4", 2e-4),
        ("1E5", 1e5),
        ("+1e+3", 1e3),
        ("-0.5e2", -50.0),
        (".5e1", 5.0),
        ("1.e1", 10.0),
    ],
)
def test_exponents_need_no_point(tmp_path: Path, text: str, number: float) -> None:
    """YAML 1.1 takes `2e-4` for text, which is how most people write a learning rate."""

    class Rate(Closed):
        rate: float

    path = written(tmp_path, f"rate: {text}\n")
    assert load_config(Rate, path).rate == number
    path = written(tmp_path, "rate: 1.0\n")
    assert load_config(Rate, path, [f"rate={text}"]).rate == number


@pytest.mark.parametrize("text", ["e4", "2e", "1e4x", "1e-", "abc1e4", '"2e-4"', "1e4 5"])
def test_what_is_no_number_stays_text(tmp_path: Path, text: str) -> None:
    class Word(Closed):
        word: str

    assert load_config(Word, written(tmp_path, f"word: {text}\n")).word == text.strip('"')


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999", ".INF", ".NaN"])
def test_numbers_that_are_not_finite_are_faults_with_their_line(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, GOOD.replace("rate: 2.0", f"rate: {text}"))
    with pytest.raises(ConfigError, match=r"line 4: load\.points\[0\]\.rate: .*finite number"):
        load_config(Settings, path)
    path = written(tmp_path, GOOD + f"seed: {text}\n")
    with pytest.raises(ConfigError, match=r"line 5: seed: .*valid integer"):
        load_config(Settings, path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: &a [*a]", "line 1: .*name.* an alias that contains itself"),
        ("data: &d\n  path: *d", "line 1: .*data.path: an alias that contains itself"),
        ("&x\nname: *x", "an alias that contains itself"),
        ("a: " + "[" * 100, "line 1: .*nested too deeply"),
        ("a: " + "[" * 2000 + "]" * 2000, "line 1: .*nest"),
        ("a: " + "{b: " * 60 + "}" * 60, "line 1: .*nested too deeply"),
        ("? [a, b]\n: c", "unhashable key"),
        ("seed: !!bool maybe", "after a tag"),
        ("seed: !!int ''", "after a tag"),
        ("seed: !!timestamp x", "after a tag"),
        ("seed: !!python/object/apply:os.system [id]", "could not determine a constructor"),
    ],
)
def test_yaml_that_is_no_configuration(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        load_config(Settings, written(tmp_path, text + "\n"))
    if "\n" not in text and ": " in text:
        with pytest.raises(InputError):
            load_config(Settings, written(tmp_path, GOOD), [text.replace(": ", "=", 1)])


def test_an_alias_that_is_used_twice_is_no_fault(tmp_path: Path) -> None:
    text = "name: a\nload:\n  points: [&p {rate: 1.0}, *p]\nextra_points: {x: *p, y: *p}\n"
    assert len(load_config(Settings, written(tmp_path, text)).extra_points) == 2


def test_aliases_of_aliases_end_soon(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 50000 values"):
        load_config(Settings, written(tmp_path, "\n".join(lines)))
