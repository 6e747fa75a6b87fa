"""Pages in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

from support import tool


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser once, with a profile of its own and no network of its own accord."""
    command = [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)


def examine(page: Path, folder: Path, script: str, *arguments: str) -> Any:
    """Run a script in a copy of the page and return what it puts into the title as JSON."""
    # The page forbids other scripts than its own; the copy that is examined does not.
    html = page.read_text(encoding="utf-8")
    html = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    copy = folder / "report.html"
    copy.write_text(
        html.replace("</body>", f"<script>{{{script}}}</script></body>"), encoding="utf-8"
    )
    options = ["--virtual-time-budget=30000", "--dump-dom", *arguments]
    shown = browse(folder, *options, copy.as_uri())
    assert [line for line in shown.stderr.splitlines() if "CONSOLE" in line] == []
    title = re.search(r"<title>(.*?)</title>", shown.stdout, flags=re.S)
    assert title is not None
    return json.loads(unescape(title[1]))
