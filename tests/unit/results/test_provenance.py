import json
from importlib import metadata

import pytest

from medsweep.results import provenance as module
from medsweep.results.provenance import provenance


def test_versions_are_of_every_package_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.13.0+cu126", "bitsandbytes": "0.50.2", "flash-attn": "2.8"}

    def version(package: str) -> str:
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(module.metadata, "version", version)
    provenance.cache_clear()
    try:
        versions = json.loads(provenance()["versions"] or "")
    finally:
        provenance.cache_clear()
    assert versions.keys() == {"medsweep", "python", *installed}
    assert versions["bitsandbytes"] == "0.50.2"
