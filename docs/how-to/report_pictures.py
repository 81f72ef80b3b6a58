"""Take the pictures of the report in this folder: ``python docs/how-to/report_pictures.py``.

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
WIDTHS = (1280, 390)


def take(browser: Browser, page: Path, width: int, scheme: str) -> None:
    """Take one picture, with the player of the first song and one of many stems open."""
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    view.goto(page.as_uri())
    song = view.locator("tbody", has=view.get_by_role("button", name="Für Nora", exact=True))
    song.locator(".task button").click()
    song.get_by_role("slider").fill("2.4")
    song.get_by_role("button", name="Mute drums").click()
    view.mouse.move(0, 0)
    view.evaluate("scrollTo(0, 0)")
    # Chromium paints what is outside of the viewport only for a viewport of that height.
    height = view.evaluate("document.documentElement.scrollHeight")
    view.set_viewport_size({"width": width, "height": height})
    height = view.evaluate("document.documentElement.scrollHeight")
    view.set_viewport_size({"width": width, "height": height})
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
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                take(browser, Path(folder) / "vocalsep-demo" / "report.html", width, scheme)
        browser.close()


if __name__ == "__main__":
    main()
