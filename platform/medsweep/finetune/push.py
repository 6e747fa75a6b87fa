"""Push an adapter: to a repository of the hub in one commit, or to any fsspec URL."""

from __future__ import annotations

import json

from medsweep.errors import EnvironmentFault, InputError
from medsweep.finetune.adapter import CARD_FILE, Adapter

HUB = "hf://"


def push(adapter: Adapter, target: str, *, private: bool = False) -> str:
    """Copy an adapter's files to where others find them; whole, or not to be seen as an adapter.

    Args:
        adapter: the adapter.
        target: `hf://owner/name` for a repository of the hub; else an fsspec URL or a folder.
        private: whether a new repository of the hub is private.

    Returns:
        Where it is now.

    Raises:
        InputError: there is another adapter at the target.
        EnvironmentFault: the target cannot be written.
    """
    if target.startswith(HUB):
        return _to_hub(adapter, target.removeprefix(HUB), private)
    return _to_url(adapter, target.rstrip("/"))


def _to_hub(adapter: Adapter, repository: str, private: bool) -> str:
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        # All files in one commit: nobody ever sees half of it.
        done = api.upload_folder(
            repo_id=repository,
            folder_path=adapter.folder,
            commit_message=f"Adapter {adapter.sha256[:12]} of {adapter.model}",
        )
    except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
        raise EnvironmentFault(
            f"hf://{repository}: cannot be written ({type(error).__name__}); set HF_TOKEN to one "
            "that may write there"
        ) from None
    return str(done.commit_url)


def _to_url(adapter: Adapter, target: str) -> str:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(target)
        if files.exists(f"{root}/{CARD_FILE}"):
            there = json.loads(files.cat_file(f"{root}/{CARD_FILE}"))
            if there.get("sha256") == adapter.sha256:
                return target
            raise InputError(f"{target}: another adapter is here; give another place")
        files.makedirs(root, exist_ok=True)
        names = sorted(path.name for path in adapter.folder.iterdir() if path.is_file())
        # The card comes last: without it the folder is not taken for an adapter.
        for name in [name for name in names if name != CARD_FILE] + [CARD_FILE]:
            files.pipe_file(f"{root}/{name}", (adapter.folder / name).read_bytes())
    except (ImportError, ValueError, OSError) as error:
        raise EnvironmentFault(f"{target}: cannot be written: {error}") from None
    return target
