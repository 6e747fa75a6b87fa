"""Addresses of servers, as users write them."""

from __future__ import annotations

import base64
import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from medsweep.errors import InputError
from medsweep.reporter import harmless

_ROUTES = ("chat/completions", "completions")
_SECRET_NAME = re.compile("key|token|secret|password|signature|sig$|code$", re.IGNORECASE)
_BAD_IPV6 = "has an IPv6 address that is not valid; write http://[::1]:8000/v1"
_AUTHORITY = re.compile(r"(?:[\w.~-]*|\[.*\])(?::\d*)?")
MASK = "***"
"""Stands for a secret in an address that is shown."""


def check_url(url: str) -> None:
    """Check that an address can be sent to.

    Raises:
        InputError: it is not HTTP, or has no valid host or port; the message has no secret in it.
    """
    if fault := _fault(url):
        raise InputError(f"the URL {harmless(public_url(url))} {fault}")


def route_url(base_url: str, route: str) -> str:
    """Return the full address of a route, with the query of the base behind it.

    Args:
        base_url: root of the API; one that already ends with a route is taken for its root.
        route: such as `chat/completions`.
    """
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    for known in _ROUTES:
        if path.endswith(f"/{known}"):
            path = path.removesuffix(f"/{known}")
            break
    return parts._replace(path=f"{path}/{route}", fragment="").geturl()


def basic_credentials(url: str) -> str | None:
    """Return the value of the header for `user:password@` in an address; None without it."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return None
    return f"Basic {base64.b64encode(unquote(userinfo).encode()).decode()}"


def public_url(url: str) -> str:
    """Return an address without what must not be printed: credentials, and secrets in its query."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        rest = rest[len(authority.rpartition("@")[0]) + 1 :]
    elif not _AUTHORITY.fullmatch(authority):
        # A password with a slash or a question mark that is not escaped.
        rest = rest.rpartition("@")[2]
    shown, mark, query = f"{scheme}{separator}{rest}".partition("?")
    if not mark:
        return shown
    names = parse_qsl(query.partition("#")[0], keep_blank_values=True)
    masked = [(name, MASK if _SECRET_NAME.search(name) else value) for name, value in names]
    return f"{shown}?{urlencode(masked, safe='*:')}"


def _fault(url: str) -> str | None:
    if not url.lower().startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be ASCII without spaces"
    try:
        parts = urlsplit(url)
    except ValueError:
        return _BAD_IPV6
    return _host_fault(parts) or _port_fault(parts)


def _host_fault(parts: SplitResult) -> str | None:
    host = parts.netloc.rpartition("@")[2]
    if not host.startswith("["):
        if host.count(":") > 1:
            return "has an IPv6 address without brackets; write http://[::1]:8000/v1"
        if not parts.hostname:
            return "has no host"
        return None if re.fullmatch(r"[\w.~-]+", parts.hostname) else "has a host that is not valid"
    try:
        ipaddress.IPv6Address((parts.hostname or "").partition("%")[0])
    except ValueError:
        return _BAD_IPV6
    return None


def _port_fault(parts: SplitResult) -> str | None:
    try:
        valid = parts.port is None or 1 <= parts.port <= 65535
    except ValueError:
        valid = False
    return None if valid else "has a port that is no number from 1 to 65535"
