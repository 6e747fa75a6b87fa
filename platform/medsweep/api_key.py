"""API keys, as users store them in files and environment variables."""

from __future__ import annotations

import os

from medsweep.errors import InputError


def clean_key(text: str, source: str) -> str:
    """Return a key that an HTTP header can hold, without white space around it.

    Args:
        text: as stored.
        source: what holds it, for the message: the variable or the file.

    Raises:
        InputError: it is empty, or holds what no key has; the message does not quote it.
    """
    key = text.strip()
    if not key:
        raise InputError(f"{source}: the API key is empty")
    if len(key.splitlines()) > 1:
        raise InputError(f"{source}: the API key has several lines; give one")
    if key[0] in "\"'" or key[-1] in "\"'":
        raise InputError(f"{source}: the API key has quotation marks around it; leave them out")
    if key.lower().startswith("bearer "):
        raise InputError(f"{source}: the API key begins with `Bearer`; give the key alone")
    strange = next((each for each in key if not "!" <= each <= "~"), None)
    if strange is not None:
        raise InputError(
            f"{source}: the API key has a character that no key has: {strange!a} at place "
            f"{key.index(strange) + 1} (a space, or a quotation mark of a word processor?)"
        )
    return key


def key_of_variable(name: str) -> str:
    """Return the key that an environment variable holds.

    Raises:
        InputError: it is not set, or holds no key.
    """
    if name not in os.environ:
        raise InputError(f"the environment variable {name} (API key) is not set")
    return clean_key(os.environ[name], f"the environment variable {name}")
