"""Push an adapter: to a repository of the hub in one commit, or to any fsspec URL."""

from __future__ import annotations

from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import CARD_FILE, Adapter, parse_card
from medsweep.finetune.adapter_copy import check_files, verified_copy

HUB = "hf://"


def push(adapter: Adapter, target: str, *, private: bool = False) -> str:
    """Copy the files that an adapter lists to where others can fetch them.

    An interrupted push leaves nothing that is taken for an adapter.

    Args:
        adapter: the adapter.
        target: `hf://owner/name` for a repository of the hub; otherwise an fsspec URL or a folder.
        private: whether a new repository of the hub is private.

    Returns:
        Its address.

    Raises:
        StageError: the adapter has files that are changed, not listed, or not regular files.
        InputError: another adapter is at the target.
        EnvironmentFault: the target cannot be written.
    """
    if target.startswith(HUB):
        return _to_hub(adapter, target.removeprefix(HUB), private)
    return _to_url(adapter, target.rstrip("/"))


def _to_hub(adapter: Adapter, repository: str, private: bool) -> str:
    from huggingface_hub import HfApi

    names = check_files(adapter)
    with verified_copy(adapter) as folder:
        try:
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            # All files in one commit: nobody ever sees half of it.
            done = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                allow_patterns=names,
                commit_message=f"Adapter {adapter.sha256[:12]} of {adapter.model}",
            )
        except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
            raise EnvironmentFault(
                f"hf://{repository}: cannot be written ({type(error).__name__}); set HF_TOKEN to "
                "one that may write there"
            ) from None
    return str(done.commit_url)


def _to_url(adapter: Adapter, target: str) -> str:
    import fsspec

    names = check_files(adapter)
    try:
        files, root = fsspec.core.url_to_fs(target)
        if files.exists(f"{root}/{CARD_FILE}"):
            if _sha256(files.cat_file(f"{root}/{CARD_FILE}"), adapter) == adapter.sha256:
                return target
            raise InputError(f"{target}: another adapter is here; give another URL")
        files.makedirs(root, exist_ok=True)
        with verified_copy(adapter) as folder:
            # adapter.json comes last: without it the folder is not taken for an adapter.
            for name in names:
                files.pipe_file(f"{root}/{name}", (folder / name).read_bytes())
    except (ImportError, ValueError, OSError) as error:
        raise EnvironmentFault(f"{target}: cannot be written: {error}") from None
    return target


def _sha256(card: bytes, adapter: Adapter) -> str | None:
    """Return the identity of the adapter that is at the target; None where that is no adapter."""
    try:
        return parse_card(card, adapter.folder).sha256
    except StageError:
        return None
