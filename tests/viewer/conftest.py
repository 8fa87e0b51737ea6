"""A collector with its viewer and a furnished store, and a real Chromium to look at it.

Without a Chromium the browser tests are skipped, unless SPANLOOM_BROWSER=required (as in CI).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import scenes
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from spanloom.cli.pages import mounts
from spanloom.collector.server import Running
from spanloom.store import Incoming

expect.set_options(timeout=20_000)  # a machine with other things to do is slow, not wrong


@dataclass
class Office:
    """A running viewer over the scene, and the ids of what is in it."""

    server: Running
    failed: str
    fine: str
    killed: str
    client: httpx.Client = field(repr=False)

    @property
    def url(self) -> str:
        return self.server.url

    def get(self, path: str, **query: Any) -> httpx.Response:
        """One request, under a deadline."""
        return self.client.get(self.url + path, params=query or None)

    def write(self, *records: Any) -> None:
        """Store more, as a program would."""
        self.server.store.write([Incoming(record) for record in records])


@pytest.fixture(scope="package")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The furnished viewer that all tests of this package look at."""
    path = tmp_path_factory.mktemp("office") / "runs.db"
    scene = scenes.office(time.time_ns())
    scenes.furnish(path, scene)
    named = {record.name: record.run_id for record in scene.records if getattr(record, "type", None) == "agent"}
    fine = [record.run_id for record in scene.records if getattr(record, "name", None) == "supplier-research"]
    with Running(path, mounts=mounts()) as running, httpx.Client(timeout=20, trust_env=False) as client:
        yield Office(running, named["supplier-research"], fine[0], named["nightly-report"], client)


def chromium() -> str | None:
    """Where a Chromium is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    path = chromium()
    if path is None:
        if os.environ.get("SPANLOOM_BROWSER") == "required":
            pytest.fail("SPANLOOM_BROWSER=required, and no Chromium is installed: apt-get install chromium")
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, office: Office) -> Iterator[Open]:
    """Opens a page of the office in a window of its own; at the end nothing may have failed in it, and nothing may
    have been asked of another server."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_at(path: str, size: str = "desktop", theme: str = "light", **more: Any) -> Page:
        width, height = scenes.SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce",
            has_touch=size == "phone", **more,
        )  # fmt: skip
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"{path}: {error}"))
        page.on("console", lambda said: faults.append(f"{path}: {said.text}") if said.type == "error" else None)
        page.on("request", lambda asked: faults.append(asked.url) if _foreign(asked.url, office.url) else None)
        page.goto(office.url + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert faults == []


def _foreign(url: str, home: str) -> bool:
    return not url.startswith((home + "/", "data:", "blob:" + home))
