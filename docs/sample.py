"""Write docs/sample-report.html and docs/images/report.png, its top, from a result folder.

The page goes to everybody: it names no machine, no path and no answer of a private dataset.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from medsweep.errors import EnvironmentFault, InputError
from medsweep.report.page import write_report
from medsweep.report.samples import public_answers
from medsweep.results.aggregate import distinct
from medsweep.results.reader import Results
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows

DOCS = Path(__file__).parent
PAGE, PICTURE = DOCS / "sample-report.html", DOCS / "images" / "report.png"
MOST_BYTES = 1_000_000
WIDTH, HEIGHT = 1200, 1150
_TOP = '<p class="kicker">MedSweep report</p>'
_NOTE = (
    '<p class="note">A sample, measured on {date} with commit {commit}: its times are of that '
    "version.</p>"
)
_PATH = re.compile(r"(?<![\w.<])/(?:home|root|tmp|Users|var|opt|mnt|work|data|srv)/[^\s<\"']*")


def sample_page(results: Path, page: Path) -> None:
    """Write the report of a result folder without what tells where it was measured.

    Args:
        results: a folder of `medsweep run`, which stays unchanged.
        page: where the report is written.

    Raises:
        InputError: the dataset is private, or the page would name a path or is too large.
    """
    found = Results.open(results)
    if not public_answers(found):
        raise InputError(f"{results}: its dataset is not public, or no answers were kept")
    machines = [name for name in distinct(found.rows, "hostname") if name]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "results"
        shutil.copytree(results, copy, ignore=shutil.ignore_patterns("*.safetensors", "*.html"))
        write_rows(
            copy / "benchmark.parquet",
            BENCHMARK,
            [{**row, "hostname": None} for row in found.rows],
        )
        html = write_report(copy).read_text(encoding="utf-8")
    named = sorted(set(_PATH.findall(html)))
    named += [name for name in machines if re.search(rf"[>\s]{re.escape(name)}[<\s]", html)]
    if named:
        raise InputError(f"{results}: the page would name {', '.join(named)}")
    if len(html.encode()) > MOST_BYTES:
        raise InputError(f"{results}: the page would have more than {MOST_BYTES:,} bytes")
    dates, commits = distinct(found.rows, "measured_at"), distinct(found.rows, "git_commit")
    if dates and commits:
        note = _NOTE.format(date=max(dates)[:10], commit=" and ".join(each[:7] for each in commits))
        html = html.replace(_TOP, f"{_TOP}\n{note}", 1)
    page.write_text(html, encoding="utf-8")


def take_picture(page: Path, picture: Path) -> None:
    """Write a picture of the top of a page.

    Args:
        page: the page.
        picture: where the PNG is written.

    Raises:
        EnvironmentFault: there is no Chromium, or it wrote nothing.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise EnvironmentFault("chromium is not on the PATH; apt install chromium")
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch) / "report.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += [f"--user-data-dir={scratch}/profile", "--hide-scrollbars"]
        command += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={drawn}"]
        subprocess.run([*command, page.resolve().as_uri()], capture_output=True, timeout=300)
        if not drawn.is_file():
            raise EnvironmentFault(f"{browser} wrote no picture of {page}")
        shutil.copyfile(drawn, picture)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/sample.py RESULTS")
    try:
        sample_page(Path(sys.argv[1]), PAGE)
        take_picture(PAGE, PICTURE)
    except (InputError, EnvironmentFault) as fault:
        sys.exit(str(fault))
    print(PAGE, PICTURE, sep="\n")
