"""Traces and threads beyond the usual, in a real Chromium: deep, long, large; nothing cut off, nothing misleading."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
import scenes
from msgspec import Raw
from playwright.sync_api import Page, expect

from spanloom.cli.pages import mounts
from spanloom.clock import iso
from spanloom.collector.server import Running
from spanloom.records import Chat

DEPTH = 40
PICTURE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 40).decode()
THREAD = "00000000-0000-7000-8000-00000000beef"


def _nested(scene: scenes.Scene, begin: int) -> str:
    """Forty runs, each inside the one before; the innermost is a model call with a picture and many tokens."""
    ms = 1_000_000
    root = parent = scene.run("agent", "deep-agent", begin, 100 * ms, tokens=(1_234_567, 5))
    for level in range(1, DEPTH):
        parent = scene.run("chain", f"step-{level}", begin + level * ms, 50 * ms, parent=parent, root=root)
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    asked = [{"role": "user", "content": content}]
    return scene.run("llm", "looks-at-it", begin + 45 * ms, 2 * ms, parent=parent, root=root, input=asked)


def _conversation(scene: scenes.Scene, begin: int, exchanges: int) -> None:
    for number in range(exchanges):
        at = begin + number * 1_000_000_000
        run_id = scene.run("chat", "", at, 1_000_000, thread_id=THREAD, parent=THREAD)
        message = Raw(b'{"role":"user","content":"Question %d"}' % number)
        scene.records.append(Chat(event_id=scene.ids.new(at), timestamp=iso(at), run_id=run_id, parent_run_id=THREAD,
                                  message=message))  # fmt: skip


@pytest.fixture(scope="module")
def extremes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a viewer, and the innermost run's id."""
    path = tmp_path_factory.mktemp("extremes") / "runs.db"
    now = time.time_ns()
    scene = scenes.Scene(now)
    innermost = _nested(scene, now - 60 * 10**9)
    _conversation(scene, now - 1000 * 10**9, 120)
    scenes.furnish(path, scene)
    with Running(path, mounts=mounts()) as running:
        yield running.url, innermost


def _page(browser: Any, url: str, size: str) -> Page:
    width, height = scenes.SIZES[size]
    page: Page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page.goto(url)
    return page


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_names_have_room_in_a_trace_of_forty_levels(extremes: tuple[str, str], browser: Any, size: str) -> None:
    """However deep a run is, its name can be read, and a deeper run is never indented less."""
    url, innermost = extremes
    page = _page(browser, f"{url}/traces/{innermost}", size)
    label = page.locator(".row .label", has_text="looks-at-it")
    page.locator(".rows").evaluate("(rows) => { rows.scrollTop = rows.scrollHeight }")
    expect(label).to_have_count(1)
    seen = page.evaluate(
        """() => [...document.querySelectorAll(".row")].map((row) => {
            const name = row.querySelector(".row-name").getBoundingClientRect();
            const label = row.querySelector(".label").getBoundingClientRect();
            return [+row.getAttribute("aria-level"), label.left, Math.min(label.right, name.right) - label.left];
        }).sort((a, b) => a[0] - b[0])"""
    )
    assert len(seen) > 5 and seen[-1][0] == DEPTH + 1
    assert min(width for _, _, width in seen) > 40, seen
    lefts = [left for _, left, _ in seen]
    assert lefts == sorted(lefts)
    page.close()


def test_large_counts_and_encoded_bytes_are_short(extremes: tuple[str, str], browser: Any) -> None:
    """A million tokens fit their column; a picture's base64 is a line that says how much there is, all of it a click
    away."""
    url, innermost = extremes
    page = _page(browser, f"{url}/traces/{innermost}", "desktop")
    expect(page.get_by_text("What is this?").first).to_be_visible()
    more = page.get_by_role("button", name=f"all {len(PICTURE):,} characters")
    expect(more).to_be_visible()
    assert PICTURE not in page.inner_text("body")
    more.click()
    expect(page.locator(".json-text", has_text=PICTURE[-40:])).to_be_visible()
    page.locator(".rows").press("Home")  # chooses the first: what is chosen stays in sight
    figure = page.locator(".row", has_text="deep-agent").locator(".row-tok")
    expect(figure).to_have_text("1.2M tok")
    assert figure.evaluate("(it) => it.getBoundingClientRect().left >= it.parentElement.getBoundingClientRect().left")
    page.close()


def test_a_long_thread_counts_only_what_it_shows(extremes: tuple[str, str], browser: Any) -> None:
    """120 exchanges, of which a page has the first 100: it says so until all are there."""
    page = _page(browser, f"{extremes[0]}/threads/{THREAD}", "desktop")
    expect(page.get_by_text("the first 100 exchanges")).to_be_visible()
    page.get_by_role("button", name="Show what came after").click()
    expect(page.get_by_text("120 exchanges")).to_be_visible()
    page.close()
