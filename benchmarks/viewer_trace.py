# ruff: noqa: E501 - what is put into the page reads best on one line
"""A trace of 10,000 runs in the viewer: ``python -m benchmarks.viewer_trace [RUNS]``.

Opens it in a real Chromium (found on the path) and prints, as medians and worst of 5: the time from the address to the
first rows, in milliseconds; and, while the whole trace is scrolled through, the longest task of the page's main thread
and the longest time between two frames, both by the browser's own tracing. The goals: below 1,000 ms, and no frame
over 50 ms.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import Raw
from playwright.sync_api import Browser, Page, sync_playwright

from spanloom.cli.pages import mounts
from spanloom.clock import Ids, iso
from spanloom.collector.server import Running
from spanloom.records import RunEnd, RunStart, TokenUsage
from spanloom.store import Incoming, Store

TIMES = 5
SCREENS = 60  # wheel steps for the way down, each a screen or more


def records(count: int) -> Iterator[Any]:
    """An agent, its 100 steps, and what each step calls, 3 levels deep."""
    ids, at_ns = Ids(3), time.time_ns() - 3_600_000_000_000
    root = ids.new(at_ns)
    made, step, parent = 0, root, root
    while made < count:
        at_ns += 1_000_000
        run_id = root if made == 0 else ids.new(at_ns)
        kind = "agent" if made == 0 else ("chain", "llm", "tool")[made % 3]
        if made % 100 == 1:
            step = run_id
        shared: dict[str, Any] = {"run_id": run_id, "type": kind, "name": f"{kind}-{made}", "root_run_id": root,
                  "parent_run_id": None if made == 0 else root if run_id == step else parent}  # fmt: skip
        parent = step if made % 7 else run_id
        took_ns = count * 1_000_000 if made == 0 else 40_000_000
        yield RunStart(event_id=f"{run_id}.s", timestamp=iso(at_ns), input=Raw(b'"a question"'), **shared)
        yield RunEnd(
            event_id=f"{run_id}.e", timestamp=iso(at_ns + took_ns), started_at=iso(at_ns), output=Raw(b'"an answer"'),
            status="error" if made % 997 == 5 else "ok", tokens_usage=TokenUsage(prompt=50, completion=9) if kind == "llm" else None,
            **shared,
        )  # fmt: skip
        made += 1


_FIRST_ROWS = """
const watching = new MutationObserver(() => {
  if (!document.querySelector('[role=treeitem]')) return;
  watching.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.__rows = performance.now(); }));
});
watching.observe(document, {childList: true, subtree: true});
"""


def opened(page: Page, url: str) -> float:
    """Milliseconds from the beginning of the navigation to the paint of the first rows, by the page's own clock."""
    page.add_init_script(_FIRST_ROWS)
    page.goto(url)
    while not (found := page.evaluate("window.__rows || 0")):
        page.wait_for_timeout(20)
    return float(found)


def scrolled(browser: Browser, page: Page, keep: Path) -> tuple[float, float, float]:
    """In ms, while everything is scrolled through: the longest main-thread task, the longest by its processor time, and
    the longest time between two frames."""
    box = page.locator(".rows").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    height = page.evaluate("document.querySelector('.rows').scrollHeight")
    page.evaluate("""() => { window.__frames = []; const tick = at => { window.__frames.push(at); window.__going = requestAnimationFrame(tick); };
                     requestAnimationFrame(tick); }""")  # fmt: skip
    browser.start_tracing(
        page=page, path=keep, categories=["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
    )
    for _ in range(4 * SCREENS):  # a browser that is busy leaves some out
        page.mouse.wheel(0, height / SCREENS)
        page.wait_for_timeout(16)
        if page.evaluate("document.querySelector('.rows').scrollTop") > height * 0.9:
            break
    else:
        raise AssertionError("it did not scroll")
    browser.stop_tracing()
    frames = page.evaluate("(cancelAnimationFrame(window.__going), window.__frames)")
    events = json.loads(keep.read_text("utf-8"))["traceEvents"]
    main = {(event["pid"], event["tid"]) for event in events if event.get("args", {}).get("name") == "CrRendererMain"}
    tasks = [event for event in events if event.get("name") in ("RunTask", "ThreadControllerImpl::RunTask")
             and "dur" in event and (event["pid"], event["tid"]) in main]  # fmt: skip
    busy = max(event.get("tdur", event["dur"]) for event in tasks) / 1000  # on the processor, whatever else runs there
    longest = max(event["dur"] for event in tasks) / 1000
    gaps = [later - earlier for earlier, later in pairwise(frames)]
    return longest, busy, max(gaps)


def main() -> None:
    """Fill, open, scroll."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium on the path: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        batch = [Incoming(record) for record in records(count)]
        with Store(path) as store:
            for at in range(0, len(batch), 1000):
                store.write(batch[at : at + 1000])
        root = batch[0].record.run_id  # type: ignore[union-attr]
        with Running(path, mounts=mounts()) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            opens, tasks, busy, frames = [], [], [], []
            for _ in range(TIMES):
                page = browser.new_page(viewport={"width": 1360, "height": 860})
                opens.append(opened(page, f"{server.url}/traces/{root}"))
                longest_task, longest_busy, longest_gap = scrolled(browser, page, Path(folder) / "trace.json")
                tasks.append(longest_task)
                busy.append(longest_busy)
                frames.append(longest_gap)
                page.close()
            browser.close()
    figures = {
        f"opened, {count:,} runs": opens,
        "longest task while scrolling": tasks,
        "the same, time on the processor": busy,
        "longest frame while scrolling": frames,
    }
    for label, values in figures.items():
        print(f"{label:32} {statistics.median(values):7.0f} ms   worst {max(values):7.0f} ms")


if __name__ == "__main__":
    main()
