"""The model hub: what its cache holds, and what is fetched from it."""

from __future__ import annotations

from pathlib import Path
from urllib.request import urlopen

from medsweep.errors import EnvironmentFault

HUB_TIMEOUT_S = 5.0

FETCHED = ["*.json", "*.safetensors", "*.model", "*.txt"]
"""Files of a repository that are fetched: none that can hold code."""

SECOND_COPIES = ["consolidated*", "original/*"]
"""Files with the same weights in another form, as Mistral's repositories have them."""


def cached_file(hub_id: str, name: str, revision: str | None) -> Path | None:
    """Return a repository's file in the hub's cache, or None; the network is not used.

    Args:
        hub_id: of the repository.
        name: of the file.
        revision: commit, tag or branch; None for the main branch.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, name, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


def has_weights_cached(hub_id: str, revision: str) -> bool:
    """Whether the hub's cache holds a repository's weights; the network is not used."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            local_files_only=True,
            allow_patterns=FETCHED,
            ignore_patterns=SECOND_COPIES,
        )
    except OSError:
        return False
    return any(Path(folder).glob("*.safetensors"))


def hub_has_model(hub_id: str, revision: str | None) -> bool:
    """Whether the hub, or its cache, has a model's configuration file."""
    from huggingface_hub import constants, hf_hub_download

    if cached_file(hub_id, "config.json", revision) is not None:
        return True
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        # The hub's own client would try for half a minute before it gives up.
        urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT_S).close()  # noqa: S310 the user's own hub
        hf_hub_download(hub_id, "config.json", revision=revision, etag_timeout=HUB_TIMEOUT_S)
    except Exception:  # noqa: BLE001 for any reason: its weights cannot be fetched either
        return False
    return True


def fetch_snapshot(hub_id: str, revision: str, otherwise: str, *, gated: bool = False) -> Path:
    """Return the folder of a repository's model, fetched from the hub unless the cache has it.

    Args:
        hub_id: of the repository.
        revision: commit, tag or branch.
        otherwise: what to do where the hub cannot be reached.
        gated: whether its licence must be accepted.

    Raises:
        EnvironmentFault: it cannot be fetched; the message says what to do.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                hub_id, revision=revision, allow_patterns=FETCHED, ignore_patterns=SECOND_COPIES
            )
        )
    except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
        raise EnvironmentFault(
            f"weights of {hub_id}@{revision} cannot be fetched from the hub "
            f"({type(error).__name__}); {_advice(error, otherwise, gated=gated)}"
        ) from None


def _advice(error: Exception, otherwise: str, *, gated: bool) -> str:
    """Return what to do where the hub, or the way to it, refused a model."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        if gated:
            return "accept its licence on the hub and set HF_TOKEN"
        return "the hub answered, but refused it; check its name and revision"
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set, and the cache at {constants.HF_HUB_CACHE} does not have it"
    return (
        "the hub was not reached: check the network, copy the cache of a machine that has the "
        f"model to {constants.HF_HUB_CACHE}, {otherwise}"
    )
