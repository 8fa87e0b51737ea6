"""One trace as one file: it opens offline with everything in it, and nothing in it can run."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import scenes
from playwright.sync_api import Browser, expect

from spanloom import cli
from spanloom.viewer import export


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_file_opens_offline_with_everything_visible(office: Any, browser: Browser, tmp_path: Path) -> None:
    """In a browser without a network: the failure, every run, messages, arguments, results, the stack."""
    answer = office.get("/view/export", id=office.failed)
    assert answer.headers["content-disposition"] == f'attachment; filename="trace-{office.failed}.html"'
    path = tmp_path / "trace.html"
    path.write_bytes(answer.content)
    for size in (1360, 390):
        context = browser.new_context(viewport={"width": size, "height": 860}, offline=True)
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        for words in ("supplier-research", "JSONDecodeError", scenes.QUESTION, "Maasvlakte Cold Storage",
                      "parse_choice", "freight_quotes", "radius_km", "research.py", "Answer as JSON."):  # fmt: skip
            expect(page.get_by_text(words).first).to_be_visible()
        assert asked == [path.as_uri()]
        assert page.locator("details.run").count() == 10
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        style = page.evaluate("getComputedStyle(document.querySelector('.runs')).borderRadius")
        assert style == "12px", "its own policy let its own style sheet through"
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_button_makes_the_same_file(office: Any, open_page: Any, tmp_path: Path, size: str, theme: str) -> None:
    """From the trace's page, under its own name."""
    page = open_page(f"/traces/{office.failed}", size, theme)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export HTML").click()
    assert download.value.suggested_filename == f"trace-{office.failed}.html"
    download.value.save_as(tmp_path / "kept.html")
    assert "Maasvlakte Cold Storage" in (tmp_path / "kept.html").read_text("utf-8")


def test_there_is_no_script_and_nothing_to_load(office: Any) -> None:
    """No element and no attribute that could run or fetch; the style sheet is the one that the policy names."""
    text = office.get("/view/export", id=office.failed).text
    known = "html head meta title style body main h1 h2 h3 span dl dt dd div details summary b br pre svg rect footer"
    allowed = known.split(" ")
    for tag, attributes in Tags(text).found:
        assert tag in allowed
        assert not any(name.startswith("on") or name in ("src", "href", "style", "action") for name in attributes)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert hashlib.sha256(style[1].encode()).digest() == base64.b64decode(
        re.search(r"sha256-([^']+)'", export.POLICY)[1]  # type: ignore[index]
    )


@pytest.mark.parametrize("run_id", ['"><script>', "../../etc/passwd", "a\r\nset-cookie: x", "ü" * 300, ""])
def test_a_file_name_is_harmless_whatever_the_id(run_id: str) -> None:
    """Letters, digits, a hyphen and an underscore, and not many of them (S36)."""
    assert re.fullmatch(r"trace-[\w-]{0,60}\.html", export.filename(run_id), re.ASCII)


def test_the_command_writes_the_file(office: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`spanloom export` with the end of an id; the file is its owner's alone."""
    target = tmp_path / "out.html"
    store = str(office.server.store.path)
    assert cli.main(["export", office.failed[-10:], "--store", store, "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert "JSONDecodeError" in target.read_text("utf-8")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert cli.main(["export", office.failed, "--store", store, "-o", "-"]) == 0
    assert capsys.readouterr().out == target.read_text("utf-8")
    assert cli.main(["export", "no-such-run", "--store", store]) == 1
    assert cli.main(["export", office.failed, "--store", store, "-o", str(tmp_path / "no" / "such")]) == 1
    assert "give another file" in capsys.readouterr().err


def test_counts_in_the_file_are_those_of_the_trace(office: Any) -> None:
    """Tokens are counted once, as on the page."""
    text = office.get("/view/export", id=office.failed).text
    assert "<dt>Tokens</dt><dd>1,782</dd>" in text
    assert "<dt>Runs</dt><dd>10</dd>" in text
