# ruff: noqa: E501 - a field with what stands in it reads best on one line
"""Two hundred hostile texts in every field that is shown: no script runs, no request leaves, no markup is made (S11, S12)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hostile import TEXTS
from msgspec import Raw
from playwright.sync_api import Browser, Page
from scenes import raw

from spanloom.clock import iso
from spanloom.records import Action, Chat, ErrorInfo, Feedback, LossReport, Outcome, RunEnd, RunPoint, RunStart
from spanloom.store import Incoming, Store
from support.serving import Serving

TRACE = "hostile-trace"
MARKUP = "img, iframe, object, embed, base, form[action], video, audio, math, style, main script, main link, template"


def records(number: int, text: str, at_ns: int) -> Iterator[Any]:
    """A run, an exchange, feedback, usage and a loss, with the text in each field."""
    run_id = f"{number}-{text}"
    everywhere = {text: text, "nested": {text: [text, {text: text}]}}
    who = {
        "user_id": text,
        "customer": text,
        "key": text,
        "service": text,
        "root_run_id": TRACE,
        "parent_run_id": TRACE,
    }
    yield RunStart(
        event_id=f"{number}.s", timestamp=iso(at_ns), run_id=run_id, type="llm", name=text, tags=[text], **who,
        input=raw([{"role": "user", "content": text}, {"role": text, "name": text, "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": text}}]}, {"role": "tool", "content": text}]),
        params=raw(everywhere), metadata=raw(everywhere), user_props=raw(everywhere),
    )  # fmt: skip
    yield RunPoint(
        event_id=f"{number}.p", timestamp=iso(at_ns), run_id=run_id, type="llm", label=text, data=raw({text: text})
    )
    yield RunEnd(
        event_id=f"{number}.e", timestamp=iso(at_ns + 1000_000), run_id=run_id, type="llm", name=text, status="error", model=text,
        error=ErrorInfo(message=text, type=text, stack=f"Traceback\n{text}"), extra=raw(everywhere), response_id=text, **who,
        output=raw({"role": "assistant", "content": text, "tool_calls": [{"function": {"name": text, "arguments": text}}], text: text}),
    )  # fmt: skip
    chat = {"run_id": f"chat-{number}-{text}", "parent_run_id": "hostile-thread", "type": "chat", "user_id": text}
    yield Chat(event_id=f"{number}.c1", timestamp=iso(at_ns), message=raw({"role": "user", "content": text}), **chat)
    yield Chat(
        event_id=f"{number}.c2", timestamp=iso(at_ns + 1000), message=raw({"role": text, "content": text}), **chat
    )
    yield Chat(
        event_id=f"{number}.c3",
        timestamp=iso(at_ns),
        message=raw(text),
        run_id=f"own-{number}",
        parent_run_id=f"thread {text}",
        type="chat",
    )
    yield Feedback(
        event_id=f"{number}.f",
        timestamp=iso(at_ns),
        run_id=run_id,
        feedback=raw({"thumb": "down", "comment": text, "label": text}),
    )
    yield Feedback(event_id=f"{number}.k", timestamp=iso(at_ns), key=f"none {text}", feedback=raw({"comment": text}))
    for kind in (Action, Outcome):
        yield kind(
            event_id=f"{number}.{kind.__name__}",
            timestamp=iso(at_ns),
            name=text,
            idempotency_key=f"{number}{kind.__name__}",
            customer=text,
        )
    yield LossReport(event_id=f"{number}.l", timestamp=iso(at_ns), destination=text, lost={text: 1}, process=text)


@pytest.fixture(scope="module")
def infested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A viewer over a store in which everything is hostile."""
    path = tmp_path_factory.mktemp("infested") / "runs.db"
    now = time.time_ns()
    with Store(path) as store:
        top = RunStart(
            event_id="top", timestamp=iso(now - 10**9), run_id=TRACE, type="agent", name=TEXTS[0], input=raw(TEXTS[1])
        )
        store.write([Incoming(top, raw=b'{"<img src=x onerror=__pwned=1>": "</script>"}')])
        for number, text in enumerate(TEXTS):
            received = Raw(b'{"<script>__pwned=1</script>": 1}')
            store.write(
                [
                    Incoming(record, raw=bytes(received))
                    for record in records(number, text, now - (len(TEXTS) - number) * 10**6)
                ]
            )
        while store.index_pending(10):
            pass
    with Serving(path) as serving:
        yield serving


@pytest.fixture(scope="module")
def watched(infested: Serving, browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what it did that it should not have."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(15_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda asked: None if asked.url.startswith(infested.url + "/") else faults.append(asked.url))
    page.on("pageerror", lambda error: faults.append(f"error {error}"))
    page.on("popup", lambda popup: faults.append(f"popup {popup.url}"))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', event => { window.__violations = (window.__violations || 0) + 1; });"
    )
    yield page, faults
    context.close()


def is_harmless(page: Page, faults: list[str]) -> None:
    """Nothing ran, nothing was asked for, nothing became markup, and the policy never had to step in."""
    assert page.evaluate("[typeof __pwned, window.__violations || 0, Object.prototype.x]") == ["undefined", 0, None]
    assert page.locator(MARKUP).count() == 0
    assert faults == []


def until(page: Page, condition: str) -> None:
    """Wait, by asking again: what the driver would put into the page for this, the page's own policy forbids."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(15)


def test_there_are_two_hundred_of_them() -> None:
    """Each another text."""
    assert len(set(TEXTS)) == len(TEXTS) == 200


@pytest.mark.parametrize(
    "path",
    ["/?view=runs", "/?view=traces", "/threads", "/threads/hostile-thread", "/feedback", "/delivery", "/health",
     "/usage?by=model", "/usage?by=user", "/usage?by=customer", "/usage?by=name"],
)  # fmt: skip
def test_every_page_shows_them_as_text(infested: Serving, watched: tuple[Page, list[str]], path: str) -> None:
    """All that the page can show of them, older pages of the list included."""
    page, faults = watched
    page.goto(infested.url + path)
    page.wait_for_selector("main h1")
    until(page, "!document.querySelector('.loading')")
    older = page.locator(".more button")
    while older.count():
        before = page.evaluate("document.querySelectorAll('main *').length")
        older.first.click()
        until(page, f"document.querySelectorAll('main *').length !== {before}")
    if path != "/health":
        assert page.evaluate("document.querySelector('main').textContent.includes('onerror=__pwned=1>')")
    is_harmless(page, faults)


def test_every_run_shows_them_in_every_field(infested: Serving, watched: tuple[Page, list[str]]) -> None:
    """One after the other in the tree: name, error, stack, messages, tool calls, JSON, moments, feedback, facts."""
    page, faults = watched
    page.goto(f"{infested.url}/traces/{TRACE}")
    page.get_by_role("tree").focus()
    page.keyboard.press("Home")
    for number, text in enumerate(TEXTS):
        page.keyboard.press("ArrowDown")
        until(page, f"document.querySelector('.detail')?.textContent.includes('Id{number}-')")
        shown = page.evaluate("document.querySelector('.detail').textContent").replace("\x00", "\u2400")
        assert shown.count(text.replace("\x00", "\u2400")[:1000]) >= 5, (number, text)
    page.get_by_text("Events as received").click()
    page.wait_for_selector(".raw-event")
    is_harmless(page, faults)


def test_hostile_ids_open_their_own_pages(infested: Serving, watched: tuple[Page, list[str]]) -> None:
    """Links are made of ids, whatever they contain; each leads to our own page."""
    page, faults = watched
    page.goto(f"{infested.url}/?view=runs&type=llm")
    page.wait_for_selector("a[data-row]")
    for link in page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
        assert link.startswith(infested.url + "/")
    page.locator("a[data-row]").nth(3).click()
    page.wait_for_selector(".detail")
    is_harmless(page, faults)


def test_comparing_them_shows_text(infested: Serving, watched: tuple[Page, list[str]]) -> None:
    """Two runs that differ in everything."""
    page, faults = watched
    one, two = (f"{number}-{TEXTS[number]}" for number in (11, 40))
    page.goto(str(httpx.URL(f"{infested.url}/diff", params={"a": one, "b": two})))
    page.wait_for_selector(".diff")
    is_harmless(page, faults)


def test_the_exported_file_is_as_harmless(infested: Serving, browser: Browser, tmp_path: Path) -> None:
    """Opened from disk, where no server's headers protect it."""
    path = tmp_path / "hostile.html"
    path.write_bytes(httpx.get(f"{infested.url}/view/export?id={TRACE}", timeout=20, trust_env=False).content)
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', event => { window.__violations = (window.__violations || 0) + 1; });"
    )
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    assert page.evaluate("[typeof __pwned, window.__violations || 0]") == ["undefined", 0]
    assert (
        page.locator(
            "script, img, iframe, object, embed, base, form, video, audio, math, a, body style, body link"
        ).count()
        == 0
    )
    text = page.evaluate("document.body.textContent")
    for number, hostile in enumerate(TEXTS):
        wanted = hostile.replace("\x00", "\u2400").replace("\r\n", "\n")[:1000]
        assert wanted in text, (number, hostile)
    page.close()
