"""The viewer over HTTP: pages, files, data, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanloom import viewer
from spanloom.collector.server import Running
from spanloom.viewer import assets

STATIC = Path(viewer.__file__).parent / "static"
PAGES = ["/", "/traces/some-id", "/threads", "/threads/a%2Fb", "/feedback", "/usage", "/delivery", "/health", "/diff"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_the_same_document_under_a_strict_policy(office: Any, path: str) -> None:
    """No inline script, no foreign origin, no framing, and no way from text to markup (S11, S12)."""
    answer = office.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'",
                 "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"):  # fmt: skip
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", answer.text)


def test_every_file_of_the_page_is_served_once_and_then_known(office: Any) -> None:
    """Each file has its media type and an entity tag that spares the second transfer."""
    for name, asset in assets.manifest().items():
        answer = office.get(f"/assets/{name}")
        assert answer.content == asset.body
        assert answer.headers["content-type"].split(";")[0] == asset.media_type.split(";")[0]
        again = office.client.get(f"{office.url}/assets/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    ["../routes.py", "..%2froutes.py", "%2e%2e/routes.py", "....//routes.py", "/etc/passwd", "%2fetc%2fpasswd",
     "js/%00", "js/..%5c..%5croutes.py", "vendor/../../routes.py", "js%2Fmain.js%00.css", "%252e%252e/routes.py", ""],
)  # fmt: skip
def test_nothing_but_the_manifest_is_served(office: Any, path: str) -> None:
    """No path leads out of the manifest (S10)."""
    with httpx.Client(base_url=office.url, trust_env=False, timeout=10) as client:
        request = client.build_request("GET", "/assets/x")
        request.url = request.url.copy_with(raw_path=f"/assets/{path}".encode())
        assert client.send(request).status_code in (400, 404)


def test_the_files_are_small_and_carry_their_licences() -> None:
    """All assets together stay under 300 KB; what is vendored has its licence beside it."""
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    for licence, words in (("htm", "Apache License"), ("preact", "MIT License"), ("uplot", "MIT License")):
        assert words in (STATIC / "vendor" / f"LICENSE.{licence}").read_text("utf-8")


def test_no_script_of_ours_can_turn_text_into_markup() -> None:
    """The words by which text becomes markup or code stand in none of our files (S11)."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function|"
        r"srcdoc|createContextualFragment|javascript:|https?://(?!www\.w3\.org)"
    )
    for path in (STATIC / "js").glob("*.js"):
        assert not forbidden.search(path.read_text("utf-8")), path.name


def test_a_trace_comes_with_all_its_runs_and_no_content(office: Any) -> None:
    """The tree is whole; contents are asked for one by one."""
    found = office.get("/view/trace", id=office.failed).json()
    (root,) = found["tree"]["roots"]
    assert root["run"]["name"] == "supplier-research"
    assert found["tree"]["size"] == 10
    assert "content" not in json.dumps(found)
    assert [child["run"]["name"] for child in root["children"]] == ["gpt-4o", "gather", "planner"]


def test_the_list_says_what_was_asked_and_what_the_trace_adds_up_to(office: Any) -> None:
    """One line of content, and tokens and cost of the whole trace, each counted once."""
    row = next(row for row in office.get("/view/runs").json()["runs"] if row["run"]["id"] == office.failed)
    assert row["asked"].startswith("Which of our suppliers")
    assert row["trace"]["runs"] == 10
    assert row["trace"]["errors"] == 3
    assert row["trace"]["tokens"] == 412 + 96 + 1204 + 61 + 9
    assert row["trace"]["cost"] == pytest.approx(0.00561, abs=1e-5)


@pytest.mark.parametrize(
    ("query", "word"),
    [({"type": "elephant"}, "type"), ({"status": "'; drop table runs; --"}, "status"), ({"after": "-1"}, "after"),
     ({"limit": "1e9"}, "limit"),
     ({"min_ms": "NaN"}, "min_ms"), ({"sort": "seq; drop"}, "sort"), ({"min_cost": "."}, "min_cost")],
)  # fmt: skip
def test_a_question_that_means_nothing_is_refused_with_the_cure(office: Any, query: dict[str, str], word: str) -> None:
    """400, naming the field and what to give instead (S13)."""
    answer = office.get("/view/runs", **query)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"{word} is ")


@pytest.mark.parametrize("path", ["trace", "run", "thread", "export"])
def test_what_has_not_arrived_is_404(office: Any, path: str) -> None:
    """An id that nobody sent."""
    assert office.get(f"/view/{path}", id="nobody").status_code == 404


def test_a_store_without_runs_answers_with_nothing(tmp_path: Path) -> None:
    """The first thing a new user sees is not an error."""
    from spanloom.cli.pages import mounts

    with Running(tmp_path / "new.db", mounts=mounts()) as server:
        for path in ("/view/runs", "/view/threads", "/view/feedback", "/view/usage", "/view/delivery", "/view/health"):
            assert httpx.get(server.url + path, trust_env=False).status_code in (200, 404), path


def test_the_data_is_guarded_like_the_rest_of_the_collector(office: Any) -> None:
    """Neither pages nor data answer to a foreign Host or Origin (S15, S16)."""
    for path in ("/", "/assets/base.css", "/view/runs", "/view/live", f"/view/export?id={office.failed}"):
        for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            answer = office.client.get(office.url + path, headers=headers)
            assert answer.status_code in (403, 421), (path, headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_of_the_viewer_can_be_written_to(office: Any, method: str) -> None:
    """Reading is all that its routes do."""
    for path in ("/", "/view/runs", f"/view/run?id={office.failed}"):
        assert office.client.request(method, office.url + path).status_code == 405
