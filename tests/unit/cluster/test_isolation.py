"""The environment of a private cluster; test_local.py attacks one."""

import contextlib
import os
from pathlib import Path

import pytest

from medsweep.cluster.isolation import isolated, secret_names, without_secrets


def test_a_process_is_as_before_after_a_cluster_that_failed(tmp_path: Path) -> None:
    from ray._private import ray_constants
    from ray._raylet import (  # type: ignore[attr-defined]  # compiled
        AuthenticationMode,
        get_authentication_mode,
    )

    before = (get_authentication_mode(), ray_constants.ENABLE_RAY_CLUSTER)
    with contextlib.suppress(ZeroDivisionError), isolated(tmp_path):
        assert get_authentication_mode() == AuthenticationMode.TOKEN
        assert not ray_constants.ENABLE_RAY_CLUSTER
        raise ZeroDivisionError
    assert (get_authentication_mode(), ray_constants.ENABLE_RAY_CLUSTER) == before


def test_names_of_credentials() -> None:
    names = {
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MEDSWEEP_API_KEY", "OPENAI_APIKEY", "DB_PASSWORD"),
        *("AWS_PROFILE", "AZURE_STORAGE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", "my_secret"),
    }
    kept = {"PATH", "TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN_PATH", "KEYBOARD", "HF_HOME"}
    assert secret_names(names | kept) == names


def test_credentials_are_hidden_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with without_secrets():
        assert "HF_TOKEN" not in os.environ
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["HF_TOKEN"] == "hf_secret"
    assert "HF_HUB_OFFLINE" not in os.environ
