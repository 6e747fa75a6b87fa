"""The report of a real sweep in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import axe_core_python
import pytest

from support import Story, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser once, with a profile of its own and no network of its own accord."""
    command = [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)


def test_report_renders_without_network_or_errors(story: Story, tmp_path: Path) -> None:
    page = story.runner.results / "report.html"
    picture = tmp_path / "report.png"
    shown = browse(tmp_path, f"--screenshot={picture}", "--window-size=1200,4000", page.as_uri())
    assert picture.stat().st_size > 50_000, shown.stderr
    assert "CONSOLE" not in shown.stderr
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    assert "emulated" in html.lower()


def test_a_filter_in_the_address_hides_other_rows(story: Story, tmp_path: Path) -> None:
    page = story.runner.results / "report.html"
    shown = browse(tmp_path, "--dump-dom", f"{page.as_uri()}#profile=host")
    assert "CONSOLE" not in shown.stderr
    rows = re.findall(r"<tr( hidden=\"\")?>(.*?)</tr>", shown.stdout, flags=re.S)
    hidden = [row for mark, row in rows if mark]
    left = [row for mark, row in rows if not mark]
    assert hidden
    assert not any('data-value="host"' in row for row in hidden)
    assert any('data-value="host"' in row for row in left)
    assert not any('data-value="1xv100-1cpu"' in row for row in left)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(story: Story, tmp_path: Path, scheme: str) -> None:
    axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    # The page forbids other scripts than its own; the copy that is examined does not.
    html = (story.runner.results / "report.html").read_text(encoding="utf-8")
    html = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    examine = "axe.run().then((found) => { document.title = JSON.stringify(found.violations); });"
    copy = tmp_path / "report.html"
    copy.write_text(
        html.replace("</body>", f"<script>{axe}</script><script>{examine}</script></body>"),
        encoding="utf-8",
    )
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
    arguments = ["--virtual-time-budget=30000", "--dump-dom", copy.as_uri()]
    shown = browse(tmp_path, *(dark if scheme == "dark" else []), *arguments)
    title = re.search(r"<title>(.*?)</title>", shown.stdout, flags=re.S)
    assert title is not None
    violations = json.loads(unescape(title[1]))
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
