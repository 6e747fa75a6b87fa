"""`medsweep docs`: the pages of the documentation, which come with the package."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from medsweep.cli.options import shipped
from medsweep.errors import EXIT_DONE, UnknownName

_HEADING = re.compile(r"(#+) (.*)")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "page",
        nargs="?",
        metavar="PAGE[#HEADING]",
        help="such as bench.md, or reference/exit-codes.md#4; without it, the pages are listed",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a page, one section of it, or the list of pages."""
    folder = shipped("docs")
    pages = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.md"))}
    if options.page is None:
        for name, path in pages.items():
            title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            print(f"{name:<28}  {title}")
        return EXIT_DONE
    name, _, heading = options.page.removeprefix("docs/").partition("#")
    name = name if name.endswith(".md") else f"{name}.md"
    if name not in pages:
        # Every page ends with .md, which is no likeness.
        known = [each.removesuffix(".md") for each in pages]
        raise UnknownName("page", name.removesuffix(".md"), known)
    lines = pages[name].read_text(encoding="utf-8").splitlines()
    print("\n".join(_section(lines, heading) if heading else lines).strip())
    return EXIT_DONE


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as the site's generator makes it."""
    plain = re.sub(r"[^\w\s-]", "", heading).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


def headings(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the line number, level and anchor of each heading outside code blocks."""
    code = False
    for number, line in enumerate(lines):
        code ^= line.startswith("```")
        if not code and (found := _HEADING.fullmatch(line)):
            yield number, len(found[1]), anchor(found[2])


def _section(lines: list[str], wanted: str) -> list[str]:
    """Return the lines from a heading to the next one of its level or above."""
    every = list(headings(lines))
    for place, (start, level, name) in enumerate(every):
        if name == wanted:
            ends = (line for line, other, _ in every[place + 1 :] if other <= level)
            return lines[start : next(ends, len(lines))]
    raise UnknownName("heading", wanted, [name for _, _, name in every])
