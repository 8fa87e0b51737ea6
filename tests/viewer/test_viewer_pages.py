"""What a person does with the pages, in a real Chromium: desktop and phone, light and dark.

Each test asserts the words that a person would look for. `open_page` adds to each that nothing failed in the page and
that no other server was asked.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import scenes
from playwright.sync_api import Page, expect

from spanloom.clock import iso
from spanloom.records import RunEnd, RunStart

WINDOWS = [(size, theme) for size in ("desktop", "phone") for theme in ("light", "dark")]
windows = pytest.mark.parametrize(("size", "theme"), WINDOWS, ids=[f"{size}-{theme}" for size, theme in WINDOWS])


def fits(page: Page) -> None:
    """Nothing makes the page wider than its window."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@windows
def test_the_list_shows_what_failed_and_why(office: Any, open_page: Any, size: str, theme: str) -> None:
    """The newest trace stands first, with its question, its error, its user, its tokens and its cost."""
    page = open_page("/", size, theme)
    row = page.locator("table.runs tbody tr", has_text="supplier-research").first
    expect(row).to_contain_text(scenes.QUESTION)
    expect(row).to_contain_text("JSONDecodeError")
    for words in ("maria", "8.42 s", "1,782", "$0.0056", "min ago"):
        expect(row).to_contain_text(words)
    expect(page.locator(".pill", has_text="killed")).to_be_visible()
    fits(page)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(18, 18, 21)") == (theme == "dark")


@windows
def test_a_failed_trace_says_where_it_began(office: Any, open_page: Any, size: str, theme: str) -> None:
    """At the top what failed and where; the failed run is chosen already, with its stack and its arguments."""
    page = open_page("/", size, theme)
    page.get_by_role("link", name="supplier-research").first.click()
    failure = page.locator(".failure")
    expect(failure).to_contain_text("JSONDecodeError")
    expect(failure).to_contain_text("began in supplier-research › planner › parse_choice · 3 runs failed")
    expect(page.get_by_role("treeitem")).to_have_count(10)
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("parse_choice")
    failure.get_by_role("button", name="Show it").click()
    detail = page.locator(".detail")
    expect(detail).to_contain_text("json.decoder.JSONDecodeError: Expecting ',' delimiter")
    expect(detail).to_contain_text('"reason": "64 free" pallets')
    expect(detail).to_contain_text("retry")
    fits(page)


@windows
def test_a_model_call_shows_messages_tools_and_the_first_token(
    office: Any, open_page: Any, size: str, theme: str
) -> None:
    """Chat messages with their roles, the tools that were called with their arguments, tokens, time to first token."""
    page = open_page(f"/traces/{office.failed}", size, theme)
    page.get_by_role("treeitem", name="gpt-4o").first.click()
    detail = page.locator(".detail")
    for words in ("first item after 540 ms", "412 in, 96 out", "$0.0020", "You find suppliers", scenes.QUESTION,
                  "search_suppliers", "freight_quotes", "radius_km"):  # fmt: skip
        expect(detail).to_contain_text(words)
    expect(detail.locator(".r-user .role")).to_have_text("user")
    page.get_by_text("Events as received").click()
    expect(detail).to_contain_text("start ·")
    expect(detail).to_contain_text("eventId")


@windows
def test_folding_hides_what_is_below(office: Any, open_page: Any, size: str, theme: str) -> None:
    """A folded run says how many are below it."""
    page = open_page(f"/traces/{office.failed}", size, theme)
    page.get_by_role("treeitem", name="gather").locator(".caret").click()
    expect(page.get_by_role("treeitem")).to_have_count(6)
    expect(page.get_by_role("treeitem", name="gather")).to_contain_text("4")
    expect(page.get_by_role("treeitem", name="gather")).to_have_attribute("aria-expanded", "false")
    page.get_by_role("button", name="Unfold all").click()
    expect(page.get_by_role("treeitem")).to_have_count(10)


@windows
def test_a_conversation_reads_as_one(office: Any, open_page: Any, size: str, theme: str) -> None:
    """The messages as they were spoken; beside each answer its trace, and what the user thought of it."""
    page = open_page("/threads", size, theme)
    expect(page.get_by_role("link", name="delivery-with-ada")).to_contain_text("3 exchanges")
    page.get_by_role("link", name="delivery-with-ada").click()
    expect(page.locator(".exchange")).to_have_count(3)
    expect(page.locator(".exchange").first).to_contain_text("Where is order 4711?")
    expect(page.locator(".exchange").last).to_contain_text("I could not add the neighbour.")
    expect(page.locator(".exchange").last).to_contain_text("The neighbour is what I asked for")
    fits(page)
    page.locator(".exchange").last.get_by_role("link", name="exchange").click()
    expect(page.get_by_role("treeitem", name="order-desk")).to_be_visible()


@windows
def test_usage_adds_up(office: Any, open_page: Any, size: str, theme: str) -> None:
    """Runs, failures, tokens, cost and outcomes of the day, charts, and the same figures by user."""
    page = open_page("/usage?span=7d", size, theme)
    series = office.get("/view/usage", by="user", width_us=86_400_000_000).json()
    runs = sum(row["runs"] for row in series["series"])
    expect(page.locator(".card", has_text="Runs").first).to_contain_text(f"{runs:,}")
    expect(page.locator(".card", has_text="ticket_resolved")).to_contain_text("outcomes")
    expect(page.locator(".chart canvas").first).to_be_visible()
    for title in ("Runs", "Tokens", "Latency", "Cost", "Outcomes"):
        expect(page.locator(".chart", has=page.get_by_role("heading", name=title, exact=True))).to_be_visible()
    page.get_by_role("button", name="User", exact=True).click()
    expect(page.locator(".figures").first).to_contain_text("maria")
    assert "by=user" in page.url
    fits(page)


@windows
def test_delivery_and_health_say_what_was_lost_and_what_is_there(
    office: Any, open_page: Any, size: str, theme: str
) -> None:
    """Losses by destination and reason; the store's size, path and search index."""
    page = open_page("/delivery", size, theme)
    for words in ("353 records lost", "journal_full", "340", "too_large", "support-7f4c"):
        expect(page.get_by_text(words).first).to_be_visible()
    page.goto(office.url + "/health")
    expect(page.get_by_text("up to date")).to_be_visible()
    expect(page.get_by_text(str(office.server.store.path))).to_be_visible()
    fits(page)


@windows
def test_feedback_is_given_on_the_page_and_seen_in_the_list(office: Any, open_page: Any, size: str, theme: str) -> None:
    """A thumb and a comment, kept by the collector, shown at once and among all feedback."""
    page = open_page(f"/traces/{office.killed}", size, theme)
    page.get_by_role("treeitem").first.click()
    page.get_by_role("button", name="Bad").click()
    expect(page.get_by_role("button", name="Bad")).to_have_attribute("aria-pressed", "true")
    comment = f"It died on {size} in the {theme}"
    page.get_by_placeholder("What was good or bad about it?").fill(comment)
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)  # the thumb's own "Feedback kept" may still stand
    kept = office.get(f"/v1/runs/{office.killed}/feedback").json()
    assert kept["thumb"] == "down"
    assert kept["comment"] == comment
    page.goto(office.url + "/feedback")
    expect(page.get_by_text(comment)).to_be_visible()
    page.goto(f"{office.url}/traces/{office.killed}")
    page.get_by_role("treeitem").first.click()
    page.get_by_role("button", name="Bad").click()
    expect(page.get_by_role("button", name="Bad")).to_have_attribute("aria-pressed", "false")


@windows
def test_runs_appear_as_they_come_in(office: Any, open_page: Any, size: str, theme: str) -> None:
    """Without a reload: first the running one, then its end."""
    page = open_page("/?user=live-" + size + theme, size, theme)
    expect(page.get_by_text("No run is like that")).to_be_visible()
    now = time.time_ns()
    who = {"run_id": f"live-{size}-{theme}", "type": "agent", "name": "just-now", "user_id": f"live-{size}{theme}"}
    office.write(RunStart(event_id=f"{who['run_id']}.s", timestamp=iso(now), input=scenes.raw("Are you there?"), **who))
    row = page.locator("table.runs tbody tr", has_text="just-now")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("Are you there?")
    office.write(
        RunEnd(
            event_id=f"{who['run_id']}.e", timestamp=iso(now + 1_500_000_000), started_at=iso(now),
            output=scenes.raw("Here I am"), **who,
        )
    )  # fmt: skip
    expect(row).to_contain_text("Here I am")
    expect(row).to_contain_text("1.50 s")


@windows
def test_filters_live_in_the_address(office: Any, open_page: Any, size: str, theme: str) -> None:
    """Each condition narrows the list, stands in the address, and is undone by going back."""
    page = open_page("/", size, theme)
    rows = page.locator("table.runs tbody tr")
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Status").select_option("error")
    expect(page).to_have_url(re.compile(r"\?status=error$"))
    expect(rows.first).to_contain_text("JSONDecodeError")
    page.get_by_label("Customer").fill("north-bikes")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile("status=error.*customer=north-bikes"))
    expect(page.get_by_role("link", name="supplier-research")).to_have_count(0)
    for row in rows.all():
        expect(row).to_contain_text("TimeoutError")
    page.go_back()
    expect(page.get_by_role("link", name="supplier-research").first).to_be_visible()
    page.reload()
    expect(page.get_by_label("Status")).to_have_value("error")
    expect(page.get_by_role("link", name="supplier-research").first).to_be_visible()


def test_search_finds_what_stands_inside_a_trace(office: Any, open_page: Any) -> None:
    """A word of a tool's result leads to the tool's run, and to its trace."""
    page = open_page("/")
    expect(page.get_by_text("supplier-research").first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_placeholder("Search")).to_be_focused()
    page.keyboard.type("Noordzee Logistics")
    row = page.locator("table.runs tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("search_suppliers")
    expect(page).to_have_url(re.compile(r"q=Noordzee\+Logistics"))
    row.get_by_role("link", name="search_suppliers").click()
    expect(page.get_by_role("heading", name="supplier-research", level=1)).to_be_visible()


def test_the_last_page_of_a_list_is_reached_while_runs_come_in(office: Any, open_page: Any) -> None:
    """Older runs are added below, and those that are shown stay where they are."""
    page = open_page("/")
    rows = page.locator("table.runs tbody tr")
    expect(rows).to_have_count(50)
    seen = rows.nth(49).get_by_role("link").first.get_attribute("href")
    now = time.time_ns()
    office.write(RunStart(event_id="paging.s", timestamp=iso(now), run_id="paging", type="agent", name="in-between"))
    expect(page.get_by_role("link", name="in-between")).to_be_visible()
    page.get_by_role("button", name="Show older runs").click()
    expect(rows).not_to_have_count(51)
    links = [row.get_attribute("href") for row in page.locator("a[data-row]").all()]
    assert links.index(seen) == 50
    assert len(links) == len(set(links))


def test_everything_can_be_done_by_keys(office: Any, open_page: Any) -> None:
    """From the list to the failure and back, without a pointer."""
    page = open_page("/?status=error")
    expect(page.get_by_text("supplier-research").first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tree")).to_be_visible()
    page.get_by_role("tree").focus()
    page.keyboard.press("Home")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("supplier-research")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("treeitem")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("treeitem")).to_have_count(10)
    page.keyboard.press("j")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("gpt-4o")
    page.keyboard.press("e")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("parse_choice")
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Critical path")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("u")
    expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    page.keyboard.press("b")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()


def test_two_runs_are_compared_line_by_line(office: Any, open_page: Any) -> None:
    """What differs stands side by side; what is the same is named."""
    page = open_page("/?name=supplier-research&view=traces")
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("button", name="Compare 2 of 2").click()
    expect(page.locator("td.del, td.add", has_text="Which of our suppliers")).to_be_visible()
    expect(page.locator("td.del, td.add", has_text="frozen peas")).to_be_visible()


def test_the_theme_is_chosen_and_kept(office: Any, open_page: Any) -> None:
    """The button wins over the system's theme, and the next visit remembers it."""
    page = open_page("/health")
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 21)"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 21)"


def test_a_link_to_a_run_opens_its_trace_at_that_run(office: Any, open_page: Any) -> None:
    """What `run.url` gives for an inner run."""
    inner = office.get("/view/runs", name="freight_quotes").json()["runs"][0]["run"]["id"]
    page = open_page(f"/traces/{inner}")
    expect(page.get_by_role("heading", name="supplier-research", level=1)).to_be_visible()


def test_a_page_that_is_not_there_says_so(office: Any, open_page: Any) -> None:
    """An id that nobody sent."""
    page = open_page("/health")
    page.evaluate("history.pushState(null, '', '/nowhere'); dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.get_by_text("There is no such page")).to_be_visible()


def test_the_server_going_away_is_said(office: Any, browser: Any, tmp_path: Path) -> None:
    """A page whose server has ended keeps what it shows and says what is the matter."""
    from spanloom.cli.pages import mounts
    from spanloom.collector.server import Running

    page = browser.new_page()
    with Running(tmp_path / "short.db", mounts=mounts()) as server:
        page.goto(server.url)
        expect(page.get_by_text("Nothing has been recorded yet")).to_be_visible()
        began = time.monotonic()
    stopped = time.monotonic() - began
    page.get_by_role("link", name="Usage").click()
    expect(page.get_by_text("The server does not answer")).to_be_visible()
    page.close()
    assert stopped < 20, "the live tail held the server up"
