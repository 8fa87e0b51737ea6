"""The viewer where not everything goes well: behind keys, over a slow store, over traces that are no trees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from scenes import MS, Scene
from starlette.applications import Starlette
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from spanloom.cli.pages import mounts
from spanloom.clock import iso
from spanloom.collector.access import Names
from spanloom.collector.body import Refused
from spanloom.collector.server import Running
from spanloom.records import RunStart
from spanloom.store import Incoming, Reader, Store
from spanloom.viewer import routes


class TwoKeys(Names):
    """A collector with two projects, each behind a key."""

    def project(self, headers: Mapping[str, str]) -> str:
        """By the bearer token."""
        keys = {"Bearer key-of-red": "red", "Bearer key-of-blue": "blue"}
        if headers.get("authorization", "") not in keys:
            raise Refused(401, "this collector asks for a key")
        return keys[headers["authorization"]]


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Running]:
    """A running collector that asks for keys, with one run in each project."""
    with Running(tmp_path / "runs.db", mounts=mounts(), access=TwoKeys()) as server:
        for project in ("red", "blue"):
            record = RunStart(
                event_id=f"{project}.s", timestamp=iso(time.time_ns()), run_id=f"run-of-{project}", type="agent",
                name=f"agent-of-{project}",
            )  # fmt: skip
            server.store.write([Incoming(record, project=project)])
        yield server


def test_without_a_key_there_is_the_page_and_no_data(keyed: Running) -> None:
    """The page may ask for the key; everything that was recorded is 401 (S08), another project's is 404 (S38)."""
    with httpx.Client(base_url=keyed.url, timeout=20, trust_env=False) as client:
        assert client.get("/").status_code == 200
        assert client.get("/traces/run-of-red").status_code == 200
        assert client.get("/assets/js/main.js").status_code == 200
        for path in ("/view/runs", "/view/trace?id=run-of-red", "/view/run?id=run-of-red", "/view/live",
                     "/view/threads", "/view/feedback", "/view/usage", "/view/delivery", "/view/health",
                     "/view/export?id=run-of-red", "/view/events?id=run-of-red"):  # fmt: skip
            assert client.get(path).status_code == 401, path
        client.headers["authorization"] = "Bearer key-of-blue"
        names = [row["run"]["name"] for row in client.get("/view/runs").json()["runs"]]
        assert names == ["agent-of-blue"]
        for kind in ("trace", "run", "export"):
            assert client.get(f"/view/{kind}?id=run-of-red").status_code == 404, kind
        assert client.get("/view/events?id=run-of-red").json() == {"events": []}


def test_the_page_asks_for_the_key_and_uses_it(keyed: Running, browser: Browser) -> None:
    """Once for the tab: for the list, the live tail, feedback and the exported file."""
    page = browser.new_page()
    page.goto(keyed.url)
    page.get_by_placeholder("Key").fill("key-of-red")
    page.get_by_role("button", name="Show the runs").click()
    expect(page.get_by_role("link", name="agent-of-red")).to_be_visible()
    expect(page.get_by_text("agent-of-blue")).to_have_count(0)
    late = RunStart(event_id="late", timestamp=iso(time.time_ns()), run_id="late", type="agent", name="late-agent")
    keyed.store.write([Incoming(late, project="red")])
    expect(page.get_by_role("link", name="late-agent")).to_be_visible()
    page.get_by_role("link", name="agent-of-red").click()
    page.get_by_role("button", name="Good").click()
    expect(page.get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export HTML").click()
    assert download.value.suggested_filename == "trace-run-of-red.html"
    page.close()


def test_a_list_says_how_far_it_looked(office: Any, open_page: Any) -> None:
    """Where few runs are as wanted, or only the newest were sorted: said, with the way on."""
    empty = {"runs": [], "next": 5, "offset": None, "now_us": 2, "looked_to_us": 1_790_000_000_000_000}
    row = office.get("/view/runs", limit=1).json()["runs"][0]

    def answer(route: Any) -> None:
        asked = route.request.url
        if "sort=tokens" in asked:
            route.fulfill(json={**empty, "runs": [row], "next": None, "among": 2000, "of": "traces"})
        else:
            route.fulfill(
                json={**empty, "runs": [row], "next": None, "looked_to_us": None} if "after=5" in asked else empty
            )

    page = open_page("/threads")
    page.route("**/view/runs?*", answer)
    page.goto(f"{office.url}/?tag=seldom")
    expect(page.get_by_role("heading", name="No run is like that, so far")).to_be_visible()
    expect(page.get_by_text("What arrived before 2026-")).to_be_visible()
    page.get_by_role("button", name="Look further back").click()
    expect(page.get_by_role("link", name=row["run"]["name"])).to_be_visible()
    expect(page.get_by_role("button", name="Look further back")).to_have_count(0)
    page.goto(f"{office.url}/?sort=tokens")
    expect(page.get_by_text("Sorted among the newest 2,000 traces that are like this.")).to_be_visible()
    page.get_by_role("link", name="All, newest first").click()
    expect(page).to_have_url(f"{office.url}/")


class _OneProject:
    """What the collector's door does, as far as these routes need it."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "state": {"project": "default"}}, receive, send)


def test_a_question_that_takes_too_long_says_to_narrow_it(tmp_path: Path) -> None:
    """503 with the cure, and the store goes on (S14)."""
    path, at = tmp_path / "runs.db", iso(time.time_ns())
    starts = [RunStart(event_id=f"{number}", timestamp=at, run_id=f"r{number}", type="llm") for number in range(4000)]
    with Store(path) as store:
        store.write([Incoming(record) for record in starts])
    parts = SimpleNamespace(reader=Reader(path, deadline_seconds=0.0), stopping=lambda: False)
    app = _OneProject(Starlette(routes=routes.data(parts)))

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            slow = await client.get("/view/runs", params={"min_ms": "5", "view": "runs", "sort": "tokens"})
            return slow, await client.get("/view/run", params={"id": "r1"})

    with ThreadPoolExecutor(1) as aside:  # the driver's own event loop is on this thread
        slow, quick = aside.submit(asyncio.run, ask()).result(timeout=30)
    assert slow.status_code == 503
    assert "narrow" in slow.json()["message"]
    assert quick.status_code == 200


def test_a_trace_that_is_no_tree_is_drawn_all_the_same(office: Any, open_page: Any) -> None:
    """A parent that never arrived, a run that is its own parent, a chain of 300: bounded, and said (S27)."""
    scene = Scene(time.time_ns(), seed=11)
    now = scene.now_ns
    top = scene.run("agent", "odd-one", now, 900 * MS, run_id="odd-top")
    scene.run("tool", "orphan-tool", now + MS, 5 * MS, run_id="odd-orphan", parent="never-arrived", root=top)
    scene.run("tool", "own-parent", now + MS, 5 * MS, run_id="odd-loop", parent="odd-loop", root=top)
    parent = top
    for depth in range(300):
        parent = scene.run(
            "chain", f"deep-{depth}", now + depth * 1000, MS, run_id=f"odd-{depth}", parent=parent, root=top
        )
    office.write(*scene.records)
    page = open_page(f"/traces/{top}")
    expect(page.locator(".trace-head")).to_contain_text("odd-one")
    expect(page.get_by_text("those left out are counted at their parents")).to_be_visible()
    page.get_by_role("tree").focus()
    page.keyboard.press("End")
    rows = page.get_by_role("treeitem")
    expect(rows.filter(has_text="own-parent")).to_contain_text("loop")
    expect(rows.filter(has_text="orphan-tool")).to_contain_text("orphan")
