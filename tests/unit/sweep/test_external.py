"""Servers that are already there, in a sweep's file and in its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medsweep.config import load_config
from medsweep.errors import ConfigError, InputError
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.submit import tasks_of
from medsweep.models.catalog import MODELS
from medsweep.sweep.batches import batch_cells
from medsweep.sweep.external import ExternalSpec
from medsweep.sweep.measurements import measurements_of
from medsweep.sweep.plan import Plan, make_plan
from medsweep.sweep.spec import SweepSpec
from support import make_spec

HOST = HardwareProfile("host", 2, 0, None, 16 * 2**30)
SERVER = {"engine": "external", "name": "ward-7", "url": "http://h:8000/v1", "model": "m"}

WRONG = """\
name: wrong
cells:
  - distilgpt2@host
  - engine: external
    name: host
    url: ftp://h/v1
    hardware: 1xv10-1cpu
    api_key_env: sk-not-a-name
    headers: {X-Org: NO_SUCH_VARIABLE}
  - {engine: external, name: b, url: "http://user:hush@h/v1", model: m, modle: m}
  - {name: c, url: "http://h/v1?api-key=hush", model: m}
load: {points: [{concurrency: 1}]}
"""


def plan(*servers: dict[str, Any], **changes: Any) -> Plan:
    spec = make_spec(cells=[*servers], **changes)
    return make_plan(spec, "data", dict.fromkeys(MODELS, "r"), HOST)


def test_all_faults_are_listed_at_once_with_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    with pytest.raises(ConfigError) as error:
        load_config(SweepSpec, path, environment={"X": "1"})
    faults = {fault.field: (fault.line, fault.problem) for fault in error.value.faults}
    assert {field: line for field, (line, _) in faults.items()} == {
        "cells[1].model": 4,
        "cells[1].name": 5,
        "cells[1].url": 6,
        "cells[1].hardware": 7,
        "cells[1].api_key_env": 8,
        "cells[1].headers": 9,
        "cells[2].url": 10,
        "cells[2].modle": 10,
        "cells[3].engine": 11,
        "cells[3].url": 11,
    }
    assert "must begin with http:// or https://" in faults["cells[1].url"][1]
    assert "is required" in faults["cells[1].model"][1]
    assert "did you mean '1xv100-1cpu'" in faults["cells[1].hardware"][1]
    assert "NO_SUCH_VARIABLE is not set" in faults["cells[1].headers"][1]
    assert "did you mean 'model'" in faults["cells[2].modle"][1]
    assert "hush" not in str(error.value)
    assert "sk-not-a-name" not in str(error.value)


def test_variables_are_checked_only_where_the_sweep_runs(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    text = WRONG.splitlines(keepends=True)
    path.write_text(
        "".join(text[:1])
        + "cells: [{engine: external, name: a, url: 'http://h/v1', model: m, api_key_env: NONE}]\n"
        + text[-1]
    )
    load_config(SweepSpec, path)
    load_config(SweepSpec, path, environment={"NONE": "k"})
    with pytest.raises(ConfigError, match="NONE is not set"):
        load_config(SweepSpec, path, environment={})


def test_names_are_distinct_from_each_other_and_from_profiles() -> None:
    with pytest.raises(ValueError, match="2 external servers are 'm@ward-7'"):
        make_spec(cells=[SERVER, SERVER])
    own = {"name": "ward-7", "cpus": 1, "host_memory_gib": 1}
    with pytest.raises(ValueError, match="'ward-7' is a hardware profile and an external server"):
        make_spec(cells=[SERVER], own_profiles=[own])
    with pytest.raises(ValueError, match="an entry of `cells`"):
        make_spec(serve={"engine": "external"})


def test_a_server_is_a_cell_without_an_adapter_or_a_fine_tune() -> None:
    price = {"usd_per_hour": 2.0, "source": "us", "date": "2026-01-01"}
    planned = plan({**SERVER, "hardware": "1xa100-1cpu"}, prices={"1xa100-1cpu": price})
    assert (planned.cells, planned.adapters) == ((), {})
    (cell,) = planned.servers
    assert (cell.name, cell.refused) == ("m@ward-7", None)
    assert cell.profile is not None
    assert (cell.profile.gpus, cell.profile.usd_per_hour) == (1, 2.0)
    assert plan(SERVER).servers[0].profile is None


def test_the_key_is_of_what_is_measured_and_not_of_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONE", "1")
    key = plan(SERVER).servers[0].key
    assert plan({**SERVER, "api_key_env": "ONE"}).servers[0].key == key
    priced = plan({**SERVER, "hardware": "1xa100-1cpu"})
    other = {"1xa100-1cpu": {"usd_per_hour": 9.0, "source": "us", "date": "2026-01-01"}}
    again = plan({**SERVER, "hardware": "1xa100-1cpu"}, prices=other)
    assert again.servers[0].key == priced.servers[0].key != key
    for change in ({"url": "http://h:8001/v1"}, {"model": "n"}, {"base": "b"}):
        assert plan({**SERVER, **change}).servers[0].key != key


def test_an_unset_variable_refuses_the_cell_with_its_name() -> None:
    (cell,) = plan({**SERVER, "api_key_env": "NO_SUCH_VARIABLE"}).servers
    assert cell.refused == "the environment variable NO_SUCH_VARIABLE (API key) is not set"
    (cell,) = plan({**SERVER, "headers": {"X-Org": "NO_SUCH_VARIABLE"}}).servers
    assert cell.refused == "the environment variable NO_SUCH_VARIABLE (header X-Org) is not set"


def test_a_header_that_http_cannot_carry_refuses_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORG", "Spital Zürich")
    (cell,) = plan({**SERVER, "headers": {"X-Org": "ORG"}}).servers
    assert cell.refused == "the environment variable ORG (header X-Org): a header must be ASCII"


def test_servers_are_measured_in_one_batch_whatever_they_stand_on() -> None:
    servers = [{**SERVER, "name": name, "hardware": "host"} for name in ("a", "b", "c")]
    planned = plan(*servers, "distilgpt2@host")
    assert sorted(map(len, batch_cells(planned.all_cells, 4))) == [4]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, {"base": "m"}),
        ({"base": "b"}, {"base": "b"}),
        ({"adapter": "a"}, {"adapter": "a"}),
        ({"adapter": "a", "base": "b"}, {"adapter": "a", "base": "b"}),
    ],
)
def test_base_and_adapter_are_names_on_the_server(
    names: dict[str, str], expected: dict[str, str]
) -> None:
    models = ExternalSpec.model_validate({**SERVER, **names}).models
    assert models == expected
    load = make_spec(load={"points": [{"concurrency": 2}], "repeats": 2, "compare_base": True}).load
    measured = [each.variant for each in measurements_of(load, 8, tuple(models))]
    first = next(iter(models))
    assert measured == [first, first] + (["base"] if len(models) > 1 else [])


def test_a_cluster_refuses_servers_outside_of_it() -> None:
    spec = make_spec(cells=[SERVER, "distilgpt2@1xa100-1cpu"])
    planned = plan(SERVER, "distilgpt2@1xa100-1cpu")
    with pytest.raises(InputError, match="m@ward-7: an external server is measured from the mach"):
        tasks_of(spec, planned, ClusterSettings())
