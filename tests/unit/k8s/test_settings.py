from __future__ import annotations

import pytest
from pydantic import ValidationError

from medsweep.k8s.settings import ClusterSettings, Toleration


def test_a_claim_is_mounted_and_a_store_is_named() -> None:
    claim = ClusterSettings(results="pvc://mine")
    assert (claim.results_claim, claim.out) == ("mine", "/results")
    store = ClusterSettings(results="s3://bucket/a/", model_cache_claim="models")
    assert (store.results_claim, store.out) == (None, "s3://bucket/a")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"results": "/results"}, "is not pvc://CLAIM, s3://bucket/prefix or gs://bucket/prefix"),
        ({"results": "s3://b; rm -rf /"}, "is not pvc://CLAIM"),
        ({"image_digests": {"cpu": "latest"}}, "64 hexadecimal digits"),
        ({"image_digests": {"cu99": "sha256:" + "0" * 64}}, "cu99"),
        ({"namespace": "Mine"}, "namespace"),
        ({"ttl_s": 5}, "ttl_s"),
        ({"benchmark_deadline_s": 600}, "must be greater than start_deadline_s"),
        ({"nodes": 3}, "nodes"),
        ({"tolerations": [{"key": "spot nodes", "operator": "Exists"}]}, "tolerations.0.key"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClusterSettings.model_validate(fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("key", key) for key in ("", "spot nodes", "-spot", "spot/", "a/b/c", "Gke.io/spot")],
        *[("key", key) for key in ("a..b/spot", "k" * 64, "spot\n")],
        *[("value", value) for value in ("spot nodes", "yes.", "a/b", "v" * 64)],
    ],
)
def test_a_taint_that_no_node_can_have_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Toleration.model_validate({"key": "spot", "value": "yes", field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("key", key) for key in ("s", "cloud.google.com/gke-spot", "team_A.b", "k" * 63)],
        *[("value", value) for value in ("", "1", "team-a_b.C", "v" * 63)],
    ],
)
def test_a_taint_that_nodes_have_is_taken(field: str, value: str) -> None:
    taint = Toleration.model_validate({"key": "spot", "value": "yes", field: value})
    assert taint.model_dump()[field] == value
