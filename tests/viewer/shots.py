"""Makes the pictures in docs/screenshots: ``python tests/viewer/shots.py`` (needs a Chromium; Inter looks best).

Every page at desktop and phone width, light and dark, as WebP.
"""

from __future__ import annotations

import base64
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import scenes
from playwright.sync_api import Page, sync_playwright

from conftest import chromium
from spanloom.cli.pages import mounts
from spanloom.collector.server import Running

TARGET = Path(__file__).parents[2] / "docs" / "screenshots"


def steps(failed: str, fine: str) -> dict[str, tuple[str, Any]]:
    """The pictures: an address, and what is done there before."""

    def on_phone(page: Page) -> bool:
        return (page.viewport_size or {"width": 0})["width"] < 760

    def show(page: Page) -> None:
        page.locator(".failure button").click()

    def model_call(page: Page) -> None:
        page.get_by_role("treeitem", name="gpt-4o").last.click()

    def critical(page: Page) -> None:
        page.get_by_role("button", name="Critical path").click()
        if not on_phone(page):
            page.get_by_role("treeitem", name="freight_quotes").click()

    return {
        "runs": ("/", None),
        "search": ("/?q=rotterdam&type=tool", None),
        "trace-failed": (f"/traces/{failed}", None),
        "trace-failure": (f"/traces/{failed}", show),
        "trace-model-call": (f"/traces/{failed}", model_call),
        "trace-critical-path": (f"/traces/{failed}", critical),
        "threads": ("/threads", None),
        "thread": ("/threads/delivery-with-ada", None),
        "feedback": ("/feedback", None),
        "usage": ("/usage?span=7d", None),
        "delivery": ("/delivery", None),
        "health": ("/health", None),
        "compare": (f"/diff?a={fine}&b={failed}", None),
        "export": (f"/view/export?id={failed}", "file"),
    }


def main() -> None:
    """All of them, or those that are named."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        scene = scenes.office(time.time_ns(), days=6)
        scenes.furnish(Path(folder) / "runs.db", scene)
        found = [record.run_id for record in scene.records if getattr(record, "name", None) == "supplier-research"]
        with Running(Path(folder) / "runs.db", mounts=mounts()) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            for name, (path, act) in steps(failed=found[-1], fine=found[0]).items():
                if sys.argv[1:] and name not in sys.argv[1:]:
                    continue
                for size, (width, height) in scenes.SIZES.items():
                    for theme in ("light", "dark"):
                        page = browser.new_page(
                            viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
                        )
                        if act == "file":
                            kept = Path(folder) / "export.html"
                            kept.write_bytes(page.request.get(server.url + path).body())
                            page.goto(kept.as_uri())
                        else:
                            page.goto(server.url + path)
                            page.wait_for_selector("main h1")
                        if callable(act):
                            act(page)
                        page.wait_for_timeout(700)
                        picture(page, TARGET / f"{name}-{size}-{theme}.webp")
                        page.close()
            browser.close()


def picture(page: Page, path: Path) -> None:
    """What is in the window, as WebP (which Playwright's own screenshots are not)."""
    devtools = page.context.new_cdp_session(page)
    made = devtools.send("Page.captureScreenshot", {"format": "webp", "quality": 90})
    path.write_bytes(base64.b64decode(made["data"]))
    print(f"{path.name} {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
