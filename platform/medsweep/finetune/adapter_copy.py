"""Private copies of an adapter's files: what is loaded is what was checked."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medsweep.errors import EnvironmentFault, MedSweepError, StageError
from medsweep.finetune.adapter import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Adapter,
    card_text,
    incomplete,
    open_regular,
    parse_card,
)

LORA_FILES = (WEIGHTS_FILE, CONFIG_FILE)
"""What an engine needs of an adapter."""

HUB_ENTRIES = (".cache", ".gitattributes")
"""What the hub and its client add to a folder; nothing reads them here."""

COPY_BYTES = 2**20


@contextmanager
def verified_copy(adapter: Adapter, names: Sequence[str] | None = None) -> Iterator[Path]:
    """Copy files of an adapter to a private folder, and check the copies against its hashes.

    Whoever may write to the adapter's folder can swap a file after it was checked. So each file is
    opened once and hashed while it is copied, and only the copy is used.

    Args:
        adapter: its hashes decide which content is right.
        names: files to copy; None copies all that it lists, and `adapter.json`.

    Yields:
        The folder, with mode 0700; it is deleted afterwards. Faults that are raised meanwhile name
        the adapter's own folder.

    Raises:
        StageError: a file is changed, missing, not listed, or not a regular file.
    """
    with tempfile.TemporaryDirectory(prefix="medsweep-adapter-") as private:
        copies = Path(private)
        if names is None:
            text = card_text(adapter.folder, links=adapter.links)
            if parse_card(text, adapter.folder, links=adapter.links) != adapter:
                raise StageError(f"{adapter.folder}: changed or missing: {CARD_FILE}")
            (copies / CARD_FILE).write_bytes(text)
            names = sorted(adapter.files)
        _check_listed(adapter, names)
        changed = [name for name in names if not _copy(adapter, name, copies)]
        if changed:
            raise StageError(f"{adapter.folder}: changed or missing: {', '.join(changed)}")
        try:
            yield copies
        except MedSweepError as error:
            error.args = tuple(
                str(each).replace(private, str(adapter.folder)) for each in error.args
            )
            raise


def check_regular(folder: Path) -> list[Path]:
    """Return the files of an adapter's folder, without what the hub's client adds.

    Raises:
        StageError: there is a link, which may lead to a file of others, or a pipe or a folder.
    """
    paths = [path for path in folder.iterdir() if path.name not in HUB_ENTRIES]
    odd = sorted(path.name for path in paths if path.is_symlink() or not path.is_file())
    if odd:
        raise StageError(f"{folder}: not regular files: {', '.join(map(repr, odd))}; remove them")
    return paths


def check_files(adapter: Adapter) -> list[str]:
    """Check every file of an adapter against the hashes in `adapter.json`, and return their names.

    Returns:
        The names, `adapter.json` last.

    Raises:
        StageError: a file is changed, missing, not listed, or not a regular file.
    """
    folder, expected = adapter.folder, adapter.files
    _check_listed(adapter, LORA_FILES)
    unlisted = sorted({path.name for path in check_regular(folder)} - {*expected, CARD_FILE})
    if unlisted:
        raise StageError(
            f"{folder}: {CARD_FILE} does not list {', '.join(map(repr, unlisted))}; remove them"
        )
    with verified_copy(adapter):
        return [*sorted(expected), CARD_FILE]


def _check_listed(adapter: Adapter, names: Sequence[str]) -> None:
    for name in names:
        if name not in adapter.files:
            raise incomplete(adapter.folder, f"{CARD_FILE}: `files` does not list {name}")


def _copy(adapter: Adapter, name: str, folder: Path) -> bool:
    """Copy a file of an adapter; return whether the copy has the hash that the adapter lists."""
    expected = {adapter.files[name], *([adapter.sha256] if name == WEIGHTS_FILE else [])}
    digest = hashlib.sha256()
    try:
        with (
            open_regular(adapter.folder, name, links=adapter.links) as source,
            open(folder / name, "xb") as copy,
        ):
            while part := source.read(COPY_BYTES):
                digest.update(part)
                copy.write(part)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentFault(
                f"{folder}: no room for a copy of {adapter.folder / name}; make room there, or set "
                "TMPDIR to a folder with more"
            ) from None
        return False
    return {digest.hexdigest()} == expected
