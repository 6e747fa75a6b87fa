from __future__ import annotations

import pytest
from pydantic import ValidationError

from medsweep.k8s.settings import ClusterSettings


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
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClusterSettings.model_validate(fields)
