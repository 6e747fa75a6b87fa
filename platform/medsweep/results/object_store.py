"""Folders in an object store: whole or not there, whatever happens on the way.

A folder's files are sent first and its manifest last; a folder without a manifest, or with a file
that is not what the manifest says, is none. Two writers of the same folder do not mix: each sends
its files under names of its own, and the last manifest decides.
"""

from __future__ import annotations

import json
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
from medsweep.results.digests import Digests, differing, digests

T = TypeVar("T")

MANIFEST = "manifest.json"
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_LAST = {"adapters": "adapter.json", "cells": "cell.json"}
"""What is written last into a folder of each kind: with it the folder is whole."""

_TOGETHER = 8
_TRIES = 5
_FIRST_WAIT_S = 0.5


class RemoteStore:
    """A place in an object store, such as `s3://bucket/prefix`.

    Args:
        url: any that fsspec knows.
        wait: how to wait before the next try, in seconds.

    Raises:
        InputError: no such kind of store, or its library is not installed.
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
        """Send a folder; it is there once all of it is.

        Args:
            folder: what to send.
            name: what it is called in the store, such as `cells/<key>`.

        Raises:
            EnvironmentFault: the store will not take it.
        """
        manifest = digests(folder)
        # Content decides the place: what was sent before, by whomever, is not overwritten by parts.
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
        """Send one file under its own name, for people and programs that read it there.

        Raises:
            EnvironmentFault: the store will not take it.
        """
        self._again(name, lambda: self._files.put_file(str(file), self._path(name)))

    def digests(self, name: str) -> Digests:
        """Return the digests of a folder's files; none where the store does not hold it."""
        manifest = self._manifest(name)
        return {} if manifest is None else manifest["files"]

    def fetch(self, name: str, folder: Path) -> bool:
        """Bring a folder; it is there once all of it is, and is what was sent.

        Args:
            name: what it is called in the store.
            folder: where to; a folder that is there is replaced.

        Returns:
            Whether the store has it.

        Raises:
            EnvironmentFault: a file is not what was sent, or the store does not answer.
        """
        manifest = self._manifest(name)
        if manifest is None:
            return False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as making:
            made = Path(making) / "folder"

            def bring(file: str) -> None:
                target = made / file
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self._path(f"{name}/{manifest['batch']}/{file}")
                self._again(f"{name}/{file}", lambda: self._files.get_file(source, str(target)))

            made.mkdir()
            self._each(manifest["files"], bring)
            wrong = differing(made, manifest["files"])
            if wrong:
                raise EnvironmentFault(
                    f"{self.url}/{name}: {', '.join(wrong)}: not what was sent (sha256 differs); "
                    "delete the folder there and run the sweep again"
                )
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
        return True

    def fetch_file(self, name: str, target: Path) -> bool:
        """Fetch one published file; return whether the store has it.

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
        return None if content is None else json.loads(content)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _each(self, names: Iterable[str], do: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            for done in [pool.submit(do, name) for name in names]:
                done.result()

    def _again(self, what: str, do: Callable[[], T]) -> T:
        """Do something, and again after a while if the store is busy or the line is cut."""
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
                        f"{self.url}: {what}: {error}; what was sent stays, run the same again"
                    ) from None
            self._wait(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")


@contextmanager
def working_folder(
    out: str,
    sweep: str,
    names: Iterable[str] = (),
    *,
    keep: Path | None = None,
    push_files: Iterable[str] = (),
) -> Iterator[Path]:
    """Give a run a folder to work in: its `--out` itself, or a copy of what the store holds.

    At the end, also after a failure, what the store does not hold is sent.

    Args:
        out: a folder, or the URL of an object store.
        sweep: name of the sweep.
        names: what to bring as far as it is there, such as `adapters/<folder>` and `cells/<key>`.
        keep: parent of the copy, which stays; None works in a scratch folder that goes.
        push_files: files of the sweep's folder that are sent under their own names, as far as they
            are there, such as `benchmark.parquet`.
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
