"""Where things stand below the server's address. Needs nothing but this file, so that every command may know it."""

from __future__ import annotations

from urllib.parse import quote

PAGES = ("/", "/traces", "/threads", "/feedback", "/usage", "/delivery", "/health", "/diff", "/assets")
"""The paths below which `routes.pages` serves; they hold no data, so that they may be had without a credential."""


def page_path(run_id: str) -> str:
    """Where a run is shown: the path below the server's address."""
    return f"/traces/{quote(run_id, safe='')}"
