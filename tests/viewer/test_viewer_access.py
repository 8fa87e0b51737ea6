"""The pages for people who do not see them, or not well: axe finds no serious fault on any page, in either theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
PAGES = {
    "runs": "/",
    "trace": "/traces/{failed}",
    "threads": "/threads",
    "thread": "/threads/delivery-with-ada",
    "feedback": "/feedback",
    "usage": "/usage",
    "delivery": "/delivery",
    "health": "/health",
    "diff": "/diff?a={failed}&b={fine}",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_or_critical_fault(office: Any, open_page: Any, name: str, theme: str) -> None:
    """Roles, names, focus and contrast, by axe's own rules and its best practices."""
    path = PAGES[name].format(failed=office.failed, fine=office.fine)
    page = open_page(path, "phone" if theme == "dark" else "desktop", theme, bypass_csp=True)
    page.wait_for_selector("main h1, main h2")
    page.wait_for_selector(".loading", state="detached")
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    serious = [
        (fault["id"], node["target"], node["failureSummary"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []
