"""Whose runs the pages show: by the owner's choice, by the key, and to whoever followed a link."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from spanloom.cli.pages import mounts
from spanloom.clock import iso
from spanloom.collector.access import Owner
from spanloom.collector.keys import Keyed, KeyRing
from spanloom.collector.server import Running
from spanloom.records import RunStart
from spanloom.store import Incoming


def put(server: Running, project: str, run_id: str = "") -> None:
    """One agent named after its project."""
    record = RunStart(
        event_id=f"{project}{run_id}.s", timestamp=iso(time.time_ns()), run_id=run_id or f"run-of-{project}",
        type="agent", name=f"agent-of-{project}",
    )  # fmt: skip
    server.store.write([Incoming(record, project=project)])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window of its own, with nothing kept from earlier."""
    context = browser.new_context()
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def test_the_owner_chooses_among_the_projects(tmp_path: Path, page: Page) -> None:
    """The picker stands there when there are several; lists, traces, feedback and links then mean that one."""
    with Running(tmp_path / "runs.db", mounts=mounts(choose=True), access=Owner()) as server:
        put(server, "default")
        page.goto(server.url)
        expect(page.get_by_role("link", name="agent-of-default")).to_be_visible()
        expect(page.get_by_label("Project")).to_have_count(0)
        put(server, "größer & schöner/1")
        page.reload()
        page.get_by_label("Project").select_option("größer & schöner/1")
        expect(page.get_by_role("link", name="agent-of-größer")).to_be_visible()
        expect(page.get_by_text("agent-of-default")).to_have_count(0)
        page.get_by_role("link", name="agent-of-größer").click()
        page.get_by_role("button", name="Good").click()
        expect(page.get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
        page.reload()
        expect(page.get_by_label("Project")).to_have_value("größer & schöner/1")
        expect(page.locator(".trace-head")).to_contain_text("agent-of-größer")
        page.goto(f"{server.url}/traces/run-of-default?project=default")
        expect(page.locator(".trace-head")).to_contain_text("agent-of-default")
        expect(page).to_have_url(f"{server.url}/traces/run-of-default")


def test_a_choice_of_another_store_is_forgotten(tmp_path: Path, page: Page) -> None:
    """A name that is not here, kept by the browser from whatever stood at this address before, shows nothing false."""
    with Running(tmp_path / "runs.db", mounts=mounts(choose=True), access=Owner(shown="blue")) as server:
        put(server, "blue")
        page.goto(f"{server.url}/?project=gone")
        expect(page.get_by_role("link", name="agent-of-blue")).to_be_visible()


def test_without_the_choice_the_header_means_nothing(tmp_path: Path) -> None:
    """A collector never lets a client name its project: not without keys, and not with one of another project (S38)."""
    chosen = {"x-spanloom-project": "blue"}
    for kind in ("keyless", "keyed"):
        ring = KeyRing(tmp_path / kind / "runs.db")
        key = ring.add("collector", "red")[1]["key"] if kind == "keyed" else "none"
        with Running(
            tmp_path / kind / "runs.db", mounts=mounts(), access=Keyed(ring) if kind == "keyed" else None
        ) as server:
            put(server, "blue")
            with httpx.Client(base_url=server.url, trust_env=False, headers={"authorization": f"Bearer {key}"}) as one:
                assert one.get("/view/runs", headers=chosen).json()["runs"] == []
                assert one.get("/view/trace?id=run-of-blue", headers=chosen).status_code == 404
                assert one.get("/view/projects", headers=chosen).json()["projects"] == []


def test_real_keys_in_the_browser(tmp_path: Path, page: Page) -> None:
    """With a ring beside the store: the page asks, a wrong key shows nothing, each key its own project, and one that
    was revoked nothing any more."""
    path = tmp_path / "runs.db"
    ring = KeyRing(path)
    (red, given), (_, other) = ring.add("collector", "red"), ring.add("lunary", "blue")
    with Running(path, mounts=mounts(), access=Keyed(ring)) as server:
        put(server, "red")
        put(server, "blue")

        def enter(key: str) -> None:
            page.get_by_placeholder("Key").fill(key)
            page.get_by_role("button", name="Show the runs").click()

        page.goto(f"{server.url}/traces/run-of-red")
        enter("sl_wrong")
        expect(page.get_by_role("dialog", name="Key")).to_be_visible()
        expect(page.get_by_text("agent-of")).to_have_count(0)
        enter(given["key"])
        expect(page.locator(".trace-head")).to_contain_text("agent-of-red")
        expect(page.get_by_label("Project")).to_have_count(0)
        page.goto(f"{server.url}/traces/run-of-blue")
        expect(page.get_by_role("alert")).to_contain_text("nothing of this id has arrived")
        for path_of in ("/", "/threads", "/feedback", "/usage", "/delivery", "/health"):
            page.goto(server.url + path_of)
            expect(page.locator(".loading")).to_have_count(0)
            expect(page.get_by_text("agent-of-blue")).to_have_count(0)
        ring.revoke(red.id)
        page.goto(server.url)
        expect(page.get_by_role("dialog", name="Key")).to_be_visible()
        enter(other["public_key"])
        expect(page.get_by_role("link", name="agent-of-blue")).to_be_visible()
        expect(page.get_by_text("agent-of-red")).to_have_count(0)


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another site: one page, whose text is the server's."""

    def do_GET(self) -> None:
        body = self.server.page.encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("keyed", [False, True], ids=["keyless", "keyed"])
def test_a_link_on_another_site_leads_to_a_page_and_nothing_else_does(tmp_path: Path, page: Page, keyed: bool) -> None:
    """A click on `run.url` in a chat or a tracker opens the run; data, frames, forms and scripts of that site are
    refused as ever (S35)."""
    ring = KeyRing(tmp_path / "runs.db")
    key = ring.add("collector", "default")[1]["key"] if keyed else ""
    access = Keyed(ring) if keyed else None
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        with Running(tmp_path / "runs.db", mounts=mounts(), access=access) as server:
            put(server, "default")
            run = f"{server.url}/traces/run-of-default"
            site.page = f"""<a id=run href="{run}">the run</a> <a id=data href="{server.url}/view/runs">its data</a>
                <a id=file href="{server.url}/view/export?id=run-of-default">a file</a>
                <form id=form method=post action="{run}"><button>send</button></form>
                <form id=feedback method=post action="{server.url}/v1/runs/ingest"><button>send</button></form>
                <iframe src="{run}#framed"></iframe>"""  # type: ignore[attr-defined]
            elsewhere = f"http://localhost:{site.server_port}/"  # another site than 127.0.0.1, for a browser

            def go_on(name: str, shown: int) -> None:
                page.goto(elsewhere)
                with page.expect_navigation(url=re.compile(re.escape(server.url))) as navigation:
                    page.locator(name).click()
                assert navigation.value.status == shown, name

            go_on("#run", 200)
            if keyed:
                page.get_by_placeholder("Key").fill(key)
                page.get_by_role("button", name="Show the runs").click()
            expect(page.locator(".trace-head")).to_contain_text("agent-of-default")
            go_on("#data", 403)
            go_on("#file", 403)
            go_on("#form button", 403)
            go_on("#feedback button", 403)
            page.goto(elsewhere)
            asked = "url => fetch(url, {mode: 'no-cors'}).then(answer => answer.type, () => 'refused')"
            assert page.evaluate(asked, f"{server.url}/") == "refused"
            page.wait_for_function("document.querySelector('iframe').contentDocument === null")
            framed = [frame for frame in page.frames if frame != page.main_frame]
            assert len(framed) == 1 and framed[0].locator("header.bar").count() == 0
    finally:
        site.shutdown()
        site.server_close()


def test_what_a_browser_says_of_a_link_is_believed_for_pages_alone(tmp_path: Path) -> None:
    """The same words on any other method, path, destination or name are refused (S34, S35)."""
    told = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    with (
        Running(tmp_path / "runs.db", mounts=mounts()) as server,
        httpx.Client(base_url=server.url, trust_env=False, headers=told) as client,
    ):
        put(server, "default")
        for path in ("/", "/traces/run-of-default", "/threads", "/usage", "/health"):
            assert client.get(path).status_code == 200, path
            assert client.post(path).status_code == 403, path
            for other in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors"}, {"sec-fetch-dest": "empty"},
                          {"origin": "https://elsewhere.example"}):  # fmt: skip
                assert client.get(path, headers=other).status_code == 403, (path, other)
            assert client.get(path, headers={"host": "rebound.example"}).status_code == 421, path
        for path in ("/view/runs", "/view/export?id=run-of-default", "/v1/runs", "/v1/runs/run-of-default",
                     "/openapi.json", "/view/live"):  # fmt: skip
            assert client.get(path).status_code == 403, path


@pytest.mark.parametrize("run_id", ["a/b", "http://host/path?x=1#y", "ends/", "x/feedback", "%2F", "ü b"])
def test_feedback_for_ids_that_look_like_paths(tmp_path: Path, page: Page, run_id: str) -> None:
    """Given on the page, and read back by the collector's own API."""
    with Running(tmp_path / "runs.db", mounts=mounts()) as server:
        put(server, "default", run_id)
        page.goto(server.url)
        page.get_by_role("link", name="agent-of-default").click()
        page.get_by_role("button", name="Bad").click()
        expect(page.get_by_role("button", name="Bad")).to_have_attribute("aria-pressed", "true")
        found = server.reader.run(run_id)
        assert found is not None and found.run.feedback == {"thumb": "down"}
        page.reload()
        expect(page.get_by_role("button", name="Bad")).to_have_attribute("aria-pressed", "true")
