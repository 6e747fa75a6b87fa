"""The chart itself: its values, its schema, what it says, and that all of it is tested."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.version import __version__

from .conftest import CHART, Helm

WRONG = {
    "an unknown value": ("--set", "modle=a", "modle"),
    "an unknown field of a profile": ("--set", "profile.cpu=2", "cpu"),
    "an unknown field of the sweep": ("--set", "sweep.laod=2", "laod"),
    "cells, which model and profile give": ("--set", "sweep.cells={paper}", "cells"),
    "a mode that is none": ("--set", "mode=run", "mode"),
    "a count that is a word": ("--set", "sweep.load.points[0].requests=many", "requests"),
    "results in no place": ("--set", "results=/results", "results"),
    "a digest that is none": ("--set", "image.digests.cpu=latest", "digests"),
    "a lifetime too short to be scraped": ("--set", "ttlSeconds=5", "ttlSeconds"),
    "deadlines that exclude each other": ("--set", "deadlines.benchmark=60", "deadlines.start"),
    "a claim in an object store": (
        "--set",
        "claim.create=true,results=s3://b/p,modelCacheClaim=models",
        "names no claim",
    ),
    "an object store alone": ("--set", "results=s3://b/p", "needs a modelCacheClaim"),
}


def test_lint_has_nothing_to_say(helm: Helm) -> None:
    done = helm.run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused_and_named(what: str, helm: Helm) -> None:
    *arguments, named = WRONG[what]
    assert named in helm.refusal(*arguments)


def test_the_version_is_the_package_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_there_is_a_profile_for_each_of_the_nine() -> None:
    files = {path.stem for path in (CHART / "profiles").glob("*.yaml")}
    assert files == set(PROFILES)
    assert len(files) == 9


def test_gated_models_are_the_catalogue_s() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    gated = {name for name, spec in MODELS.items() if spec.gated}
    assert set(values["huggingFace"]["gatedModels"]) == gated


def objects(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield at, schema
        for key, each in schema.items():
            yield from objects(each, f"{at}/{key}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from objects(each, f"{at}/{number}")


def test_the_schema_is_closed_at_every_object() -> None:
    result = list(objects(json.loads((CHART / "values.schema.json").read_text())))
    assert len(result) > 20
    for at, schema in result:
        # A map, such as of labels, takes any key, and says of what kind its values are.
        more = schema.get("additionalProperties")
        assert more is False or (isinstance(more, dict) and {"type", "$ref"} & more.keys()), at


def leaves(values: dict[str, Any], schema: dict[str, Any], at: str = "") -> Iterator[str]:
    for key, value in values.items():
        assert key in schema["properties"], f"{at}{key} is not in the schema"
        yield f"{at}{key}"
        if isinstance(value, dict) and "properties" in schema["properties"][key]:
            yield from leaves(value, schema["properties"][key], f"{at}{key}.")


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert len(list(leaves(values, schema))) > 60
    assert set(values) | {"global"} == set(schema["properties"])


def test_every_value_is_explained() -> None:
    """Each leaf has a comment of helm-docs' kind above it, but within free-form examples."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    unexplained = []
    for number, line in enumerate(lines):
        result = re.match(r"( *)(\w+):(.*)$", line)
        if not result or (result[3] == "" and lines[number + 1].startswith(result[1] + "  ")):
            continue
        above = [each.strip() for each in lines[max(0, number - 2) : number]]
        if not any(each.startswith("# --") for each in above):
            unexplained.append(result[2])
    # Of `controller.sweep`, an example of a sweep file, whose reference is a page of its own.
    assert unexplained == ["cells"]


def test_every_template_is_looked_at() -> None:
    folder = CHART / "templates"
    templates = {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")}
    assert templates == {
        "jobs/controller.yaml",
        "monitoring/dashboards.yaml",
        "monitoring/podmonitor.yaml",
        "monitoring/rules.yaml",
        "ray/claim.yaml",
        "ray/rayjob.yaml",
        "ray/rayservice.yaml",
        "rbac/accounts.yaml",
        "rbac/controller.yaml",
        "rbac/networkpolicy.yaml",
        "tests/check.yaml",
    }


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("mode=benchmark", "get rayjob bench-bm-1xv100-1cpu-"),
        ("mode=serve", "medsweep bench http://127.0.0.1:8000/v1 --api-key-env KEY --model NAME"),
        ("mode=none", "medsweep k8s submit sweep.yaml --namespace medsweep"),
        ("controller.enabled=true", "medsweep k8s status paper-cells --namespace medsweep"),
        # The release does not own the jobs that its controller has submitted.
        ("controller.enabled=true", "medsweep k8s delete paper-cells --namespace medsweep"),
    ],
)
def test_the_notes_give_the_next_command(arguments: str, command: str, helm: Helm) -> None:
    done = helm.run(
        *("install", "bench", str(CHART), "--dry-run=client", "--namespace", "medsweep"),
        *("--set", arguments),
    )
    assert done.returncode == 0, done.stderr
    assert command in done.stdout.partition("NOTES:")[2]
