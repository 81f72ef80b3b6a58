"""Take the pictures of the report in this folder: ``python docs/report_pictures.py``.

Runs the demo in a temporary folder, and takes pictures of its report with chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).parent
LENGTHS = {1280: 2700, 390: 2900}
"""Height of the picture, by width."""


def take(browser: Browser, page: Path, width: int, scheme: str) -> None:
    """Take one picture, with a task of many stems open."""
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    view.goto(page.as_uri())
    view.locator("tbody[data-status=succeeded] .task button").nth(1).click()
    view.evaluate("scrollTo(0, 0)")
    view.set_viewport_size({"width": width, "height": LENGTHS[width]})
    view.screenshot(path=DOCS / f"report-{width}-{scheme}.png")
    view.close()


def main() -> None:
    """Make all four."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        command = [sys.executable, "-m", "vocalsep_async", "demo"]
        subprocess.run(command, check=True, cwd=folder)
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for width in LENGTHS:
            for scheme in ("light", "dark"):
                take(browser, Path(folder) / "vocalsep-demo" / "report.html", width, scheme)
        browser.close()


if __name__ == "__main__":
    main()
