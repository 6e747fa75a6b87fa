"""Keeps a private Ray cluster to the user who started it.

Whoever can call a Ray cluster can run code in it. A private cluster therefore listens on the
loopback address alone, refuses calls without its own random token, and its processes do not inherit
the credentials of the process that starts it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"

# Ray's own switch, named for the systems where it is off by default: without it every process
# looks up an address that other machines can reach and uses that one.
_CONNECTABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

_SECRET = re.compile(
    r"(^|_)(TOKENS?|SECRETS?|PASSWORDS?|PASSPHRASE|CREDENTIALS?|(API)?KEYS?)(_|$)|^(AWS|AZURE)_",
    re.IGNORECASE,
)


@contextmanager
def isolated(folder: Path) -> Iterator[None]:
    """Make Ray clusters that are started or joined meanwhile loopback-only, with a fresh token.

    The token is in a file that only this user can read. Ray's processes are told its path, so that
    it is in no environment, on no command line and in no log. It ends with the folder.

    Args:
        folder: of the cluster, readable by its owner alone.
    """
    from ray._private import ray_constants

    path = folder / "auth_token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(path),
        _CONNECTABLE: "0",
    }
    connectable = ray_constants.ENABLE_RAY_CLUSTER
    try:
        # A token in a variable would win over the file.
        with environment(variables, absent={"RAY_AUTH_TOKEN"}):
            ray_constants.ENABLE_RAY_CLUSTER = False  # what the variable says, in this process
            _read_authentication()
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = connectable
        _read_authentication()


@contextmanager
def without_secrets() -> Iterator[None]:
    """Hide credentials from the processes that are started meanwhile.

    Workers inherit the environment of the node that starts them. They need no credentials: weights
    are fetched and results are stored by the process that started the cluster. So they are also
    told not to ask the model hub, which would refuse a gated model to them.
    """
    with environment({"HF_HUB_OFFLINE": "1"}, absent=secret_names(os.environ)):
        yield


def secret_names(names: Iterable[str]) -> set[str]:
    """Return the names of environment variables that hold credentials, or where they are."""
    return {name for name in names if _SECRET.search(name) and not name.startswith("RAY_")}


@contextmanager
def environment(values: Mapping[str, str], absent: Collection[str] = ()) -> Iterator[None]:
    """Set environment variables and remove others, and restore all of them on exit."""
    before = {name: os.environ.get(name) for name in (*values, *absent)}
    for name in absent:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _read_authentication() -> None:
    """Make Ray, which reads the variables once per process, read them anew."""
    # Compiled, so its types are not known.
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
