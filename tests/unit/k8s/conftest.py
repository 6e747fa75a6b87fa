"""The paper's sweep, planned, and what the renderer makes of it."""

from __future__ import annotations

import pytest

from medsweep.hardware.observe import host_profile
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec


@pytest.fixture(scope="session")
def paper() -> SweepSpec:
    """The paper's twelve cells."""
    return make_spec(name="paper-cells", stand_ins=False)


@pytest.fixture(scope="session")
def plan(paper: SweepSpec) -> Plan:
    """Its plan."""
    return planned(paper)


@pytest.fixture
def settings() -> ClusterSettings:
    """A cluster with everything left as it is."""
    return ClusterSettings()


def planned(spec: SweepSpec) -> Plan:
    """The plan of a sweep with made-up hashes."""
    return make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())
