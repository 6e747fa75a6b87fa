"""The report of a real sweep in a real browser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support import Story, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_report_renders_without_network_or_errors(story: Story, tmp_path: Path) -> None:
    page = story.runner.results / "report.html"
    picture = tmp_path / "report.png"
    command = [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0"]
    command += [f"--screenshot={picture}", "--window-size=1200,4000", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert picture.stat().st_size > 50_000, shown.stderr
    assert "CONSOLE" not in shown.stderr
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    assert "emulated" in html.lower()
