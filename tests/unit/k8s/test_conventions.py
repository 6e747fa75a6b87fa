from __future__ import annotations

import hashlib
import itertools
import re

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.own import OwnProfileSpec
from medsweep.k8s.conventions import LONGEST_NAME, Stage, labels, object_name, pod_labels
from medsweep.models.catalog import MODELS
from support import make_spec

# RFC 1035 label, as Kubernetes and KubeRay check it.
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
STAGES: tuple[Stage, ...] = ("finetune", "benchmark", "serve")


def test_every_name_is_one_that_kuberay_takes_and_no_two_are_the_same() -> None:
    sweeps = ("a", "z" * 40)
    names = [
        object_name(stage, sweep, model, profile, hashlib.sha256(model.encode()).hexdigest()[:16])
        for stage, sweep, model, profile in itertools.product(STAGES, sweeps, MODELS, PROFILES)
    ]
    assert len(names) == 3 * 2 * len(MODELS) * 9
    assert all(len(name) <= LONGEST_NAME == 47 for name in names)
    assert all(LABEL_1035.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)


def test_a_long_profile_of_one_s_own_leaves_names_that_kuberay_takes() -> None:
    """Names of models and profiles are as long as a sweep file may give them."""
    names = [
        object_name(
            "benchmark", "s", "m" * 40, profile, hashlib.sha256(profile.encode()).hexdigest()
        )
        for profile in ("p" * 30, "p" * 29 + "q", "p" * 19 + "-" + "p" * 10)
    ]
    assert all(len(name) <= LONGEST_NAME and LABEL_1035.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)


def test_a_name_is_a_function_of_sweep_and_key() -> None:
    whose = ("llama-3-8b", "1xa100-2cpu", "0123456789abcdef")
    name = object_name("benchmark", "paper", *whose)
    assert name == "bm-llama-3-8b-1xa100-2cpu-0123456789a-" + name[-4:]
    assert name != object_name("benchmark", "other", *whose)


def test_labels_are_values_that_kubernetes_takes() -> None:
    result = labels("benchmark", "z" * 39 + "9", "0123456789abcdef", "2xrtx8000-4cpu")
    assert result["medsweep.io/cell"] == "0123456789abcdef"
    assert all(LABEL_VALUE.fullmatch(value) for value in result.values())
    assert labels("finetune", "s", "k", "p")["medsweep.io/adapter"] == "k"


@pytest.mark.parametrize("name", ["demo-", "demo.", "-demo"])
def test_names_that_are_no_label_are_refused_before_there_is_a_label(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        make_spec(name=name)
    with pytest.raises(ValueError, match="name"):
        OwnProfileSpec(name=name, cpus=1, host_memory_gib=1)


def test_pods_leave_the_name_label_to_kuberay() -> None:
    assert "app.kubernetes.io/name" not in pod_labels("serve", "s", "k", "p")
    assert labels("serve", "s", "k", "p")["app.kubernetes.io/name"] == "medsweep"
