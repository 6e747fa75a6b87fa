"""The anchors of Markdown pages, and where their links lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have both on the site and on GitHub.

    The site's generator makes one hyphen of several spaces and hyphens, GitHub one of each.
    """
    headings = re.findall(r"^#+ (.*)$", _without_blocks(page), flags=re.M)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    on_site = {re.sub(r"[-\s]+", "-", heading) for heading in plain}
    return on_site & {re.sub(r"\s", "-", heading) for heading in plain}


def leads_somewhere(folder: Path, target: str) -> bool:
    """Return whether a link's file, relative to a folder, and its anchor exist."""
    path, _, anchor = target.partition("#")
    page = folder / path
    return page.exists() and (not anchor or anchor in anchors(page))


def broken_links(page: Path) -> Iterator[str]:
    """Yield a page's links to files and anchors that do not exist; other sites are not asked."""
    for target in links(page):
        if not leads_somewhere(page.parent, page.name + target if target[0] == "#" else target):
            yield target


def links(page: Path) -> list[str]:
    """Return the relative links of a page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", _without_blocks(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
