"""Folders in an object store: complete or absent, even if a push is interrupted.

The files of a folder are pushed first and its manifest last. A folder without a manifest, or with a
file that does not match it, does not count. Two writers of the same folder do not mix: each pushes
its files under names of its own, and the last manifest decides.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from medsweep.errors import EnvironmentFault, InputError
from medsweep.reporter import harmless
from medsweep.results.digests import Digests, differing, digests

T = TypeVar("T")

MANIFEST = "manifest.json"
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_LAST = {"adapters": "adapter.json", "cells": "cell.json"}
"""The file that is written last into a folder of each kind; with it the folder is complete."""

_BATCH = re.compile(r"[0-9a-f]{8}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""One part of a file's path: no `..`, no root, no drive, no hidden file, no control character."""

_TOGETHER = 8
_TRIES = 5
_FIRST_WAIT_S = 0.5


class RemoteStore:
    """A place in an object store, such as `s3://bucket/prefix`.

    Args:
        url: of any kind that fsspec knows.
        wait: sleeps before the next try, for a number of seconds.

    Raises:
        InputError: unknown kind of store, or its library is not installed.
    """

    def __init__(self, url: str, wait: Callable[[float], object] = time.sleep) -> None:
        import fsspec

        self.url, self._wait = url.rstrip("/"), wait
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            extra = _EXTRAS.get(url.partition(":")[0])
            advice = f"; pip install 'medsweep[{extra}]'" if extra else ""
            raise InputError(f"{url}: {error}{advice}") from None

    def push(self, folder: Path, name: str) -> None:
        """Push a folder; it appears in the store once all of its files are there.

        Args:
            folder: what to push.
            name: of the folder in the store, such as `cells/<key>`.

        Raises:
            EnvironmentFault: the store refuses it.
        """
        manifest = digests(folder)
        # A place of its own: files that were pushed before, by any writer, are never overwritten.
        batch = uuid.uuid4().hex[:8]
        targets = {file: f"{name}/{batch}/{file}" for file in manifest}

        def send(file: str) -> None:
            self._again(
                f"{name}/{file}",
                lambda: self._files.put_file(str(folder / file), self._path(targets[file])),
            )

        self._each(manifest, send)
        text = json.dumps({"batch": batch, "files": manifest}, sort_keys=True, indent=1)
        self._again(
            name, lambda: self._files.pipe_file(self._path(f"{name}/{MANIFEST}"), text.encode())
        )

    def push_file(self, file: Path, name: str) -> None:
        """Push one file under its own name, for people and programs that read it there.

        Raises:
            EnvironmentFault: the store refuses it.
        """
        self._again(name, lambda: self._files.put_file(str(file), self._path(name)))

    def digests(self, name: str) -> Digests:
        """Return the digests of a folder's files; empty if the store does not have the folder."""
        manifest = self._manifest(name)
        return {} if manifest is None else manifest["files"]

    def fetch(self, name: str, folder: Path) -> bool:
        """Fetch a folder; it appears here once all of its files are here and match the manifest.

        Args:
            name: of the folder in the store.
            folder: where to put it; an existing folder is replaced.

        Returns:
            Whether the store has it.

        Raises:
            EnvironmentFault: a file does not match the manifest, or the store does not answer.
        """
        manifest = self._manifest(name)
        if manifest is None:
            return False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as making:
            made = Path(making) / "folder"

            def fetch_file(file: str) -> None:
                target = made / file
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self._path(f"{name}/{manifest['batch']}/{file}")
                self._again(f"{name}/{file}", lambda: self._files.get_file(source, str(target)))

            made.mkdir()
            self._each(manifest["files"], fetch_file)
            wrong = differing(made, manifest["files"])
            if wrong:
                raise EnvironmentFault(
                    f"{self.url}/{name}: {', '.join(wrong)}: not what was pushed (sha256 differs); "
                    "delete the folder there and run the sweep again"
                )
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
        return True

    def fetch_file(self, name: str, target: Path) -> bool:
        """Fetch one file that was pushed under its own name; return whether the store has it.

        Raises:
            EnvironmentFault: the store does not answer.
        """

        def get() -> bool:
            if not self._files.exists(self._path(name)):
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(self._path(name), str(target))
            return True

        return self._again(name, get)

    def _manifest(self, name: str) -> dict[str, Any] | None:
        def read() -> bytes | None:
            try:
                content: bytes = self._files.cat_file(self._path(f"{name}/{MANIFEST}"))
            except FileNotFoundError:
                return None
            return content

        content = self._again(name, read)
        if content is None:
            return None
        try:
            return _checked(json.loads(content))
        except ValueError as error:
            raise EnvironmentFault(
                f"{self.url}/{name}/{MANIFEST}: {error}; nothing was fetched. MedSweep did not "
                "write this manifest: find out who can write to the store"
            ) from None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _each(self, names: Iterable[str], do: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            for done in [pool.submit(do, name) for name in names]:
                done.result()

    def _again(self, what: str, do: Callable[[], T]) -> T:
        """Call a function, again after a pause if the store is busy or the connection breaks."""
        pause = _FIRST_WAIT_S
        for left in reversed(range(_TRIES)):
            try:
                return do()
            except PermissionError as error:
                raise EnvironmentFault(
                    f"{self.url}: no permission for {what} ({error}); check the credentials"
                ) from None
            except FileNotFoundError as error:
                raise EnvironmentFault(f"{self.url}: {what}: not there: {error}") from None
            except (OSError, TimeoutError) as error:
                if not left:
                    raise EnvironmentFault(
                        f"{self.url}: {what}: {error}; what was pushed stays; run the same again"
                    ) from None
            self._wait(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")


def _checked(manifest: Any) -> dict[str, Any]:
    """Return a manifest that names only files inside its folder.

    Whoever can write to a bucket can write a manifest: nothing in it may choose where a file lands
    on this machine.

    Raises:
        ValueError: it is no manifest, or it names a file elsewhere.
    """
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError("not a manifest")
    if not _BATCH.fullmatch(str(manifest.get("batch"))):
        raise ValueError("its batch is not 8 hexadecimal digits")
    for name, digest in manifest["files"].items():
        if not all(_NAME.fullmatch(part) for part in name.split("/")):
            raise ValueError(f"{harmless(name[:80])!r} is not the name of a file in the folder")
        if not isinstance(digest, dict) or set(digest) != {"bytes", "sha256"}:
            raise ValueError(f"{name}: no size and SHA-256")
    return manifest


@contextmanager
def working_folder(
    out: str,
    sweep: str,
    names: Iterable[str] = (),
    *,
    keep: Path | None = None,
    push_files: Iterable[str] = (),
) -> Iterator[Path]:
    """Give a run a folder to work in: `--out` itself, or a local copy of an object store.

    At the end, even after a failure, everything that the store does not have is pushed.

    Args:
        out: a folder, or the URL of an object store.
        sweep: name of the sweep.
        names: folders to fetch if they exist, such as `adapters/<folder>` and `cells/<key>`.
        keep: parent of the copy, which is kept; None uses a temporary folder.
        push_files: files of the sweep's folder to push under their own names if they exist, such as
            `benchmark.parquet`.
    """
    if "://" not in out:
        yield (Path(out) / sweep).resolve()
        return
    store = RemoteStore(f"{out}/{sweep}")
    scratch = tempfile.TemporaryDirectory(prefix="medsweep-") if keep is None else nullcontext(keep)
    with scratch as parent:
        folder = (Path(parent) / sweep).resolve()
        for name in names:
            if not any((folder / name / last).is_file() for last in _LAST.values()):
                store.fetch(name, folder / name)
        try:
            yield folder
        finally:
            for kind, last in _LAST.items():
                for path in sorted(folder.glob(f"{kind}/*/{last}")):
                    name = path.parent.relative_to(folder).as_posix()
                    if store.digests(name) != digests(path.parent):
                        store.push(path.parent, name)
            for name in push_files:
                if (folder / name).is_file():
                    store.push_file(folder / name, name)
