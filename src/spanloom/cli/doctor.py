"""``spanloom doctor``: what is configured, what can be reached, what waits on disk, what was stored or lost.

Promises: shows no secret and sends nothing but the opening of a connection. Exit code 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import SettingsError, SpanloomError, StoreError
from ..prices import Prices
from ..settings import Settings, from_env
from ..shipping import dead_letters
from ..shipping.inspection import root_of
from ..store import PRICES_FILE, Reader, looks_sound
from . import place, words

_CONNECT_SECONDS = 3.0
_CHECK_SECONDS = 3.0
_NOT_SHOWN = {"destinations", "problems", "home", "redact", "traceparent"}
_KNOWN_URLS = {"lunary": "https://api.lunary.ai"}
_PUBLIC_ARGUMENTS = {"url", "path"}


@dataclass(frozen=True)
class Finding:
    """One line: ``state`` is "ok", "note" or "wrong"."""

    topic: str
    text: str
    state: Literal["ok", "note", "wrong"] = "ok"


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="what is configured, reachable, delivered or lost", description=__doc__)
    parser.add_argument(
        "--store", metavar="PATH", help="the store's file, such as a collector's (default: this user's own)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine and report."""
    settings = from_env()
    wrong = 0
    for finding in _findings(settings, arguments.store):
        mark = {"ok": " ", "note": "-", "wrong": "!"}[finding.state]
        first, *others = words.printable(finding.text).split("\n")
        print(f"{mark} {finding.topic.ljust(12)} {first}")
        for line in others:
            print(f"  {' ' * 12} {line}")
        wrong += finding.state == "wrong"
    print()
    print("Nothing is wrong." if not wrong else f"{wrong} thing{'s' if wrong > 1 else ''} to look at (marked !).")
    return 1 if wrong else 0


def version() -> str:
    """Spanloom's version as installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("spanloom")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _findings(settings: Settings, store: str | None) -> Iterator[Finding]:
    yield Finding("spanloom", version())
    yield Finding("python", f"{platform.python_version()} ({sys.executable}) on {platform.platform()}")
    yield _sqlite()
    yield _home(settings)
    yield from _settings(settings)
    yield from _destinations(settings)
    yield _journals(settings)
    yield from _store(store)


def _sqlite() -> Finding:
    known = sqlite3.sqlite_version_info >= (3, 34, 0)
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("create virtual table t using fts5(x)")
        search = "with full-text search"
    except sqlite3.OperationalError:
        search = "without full-text search: --search will be slow"
    finally:
        connection.close()
    text = f"{sqlite3.sqlite_version}, {search}"
    return Finding("sqlite", text if known else f"{text}; 3.34 or later is needed", "ok" if known else "wrong")


def _home(settings: Settings) -> Finding:
    if settings.home is None:
        return Finding("home", "none: this user has no home directory; set SPANLOOM_HOME", "wrong")
    nearest = settings.home
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("home", f"{settings.home} cannot be written: records stay in memory", "wrong")
    made = "" if settings.home.exists() else " (not there yet)"
    return Finding("home", f"{settings.home}{made}")


def _settings(settings: Settings) -> Iterator[Finding]:
    usual = Settings()
    changed = [
        f"{item.name} = {getattr(settings, item.name)!r}"
        for item in fields(Settings)
        if item.name not in _NOT_SHOWN and getattr(settings, item.name) != getattr(usual, item.name)
    ]
    yield Finding("settings", "from the environment: " + (", ".join(changed) or "none, all as by default"))
    for problem in settings.problems:
        yield Finding("settings", problem, "wrong")


def _destinations(settings: Settings) -> Iterator[Finding]:
    if not settings.destinations:
        yield Finding("destination", "none named by the environment: runs go to the local store, unless the program "
                      "calls configure()")  # fmt: skip
        return
    for named in settings.destinations:
        shown = [f"{key} {named.arguments[key]}" for key in sorted(named.arguments) if key in _PUBLIC_ARGUMENTS]
        hidden = [f"{key} is set" for key in sorted(named.arguments) if key not in _PUBLIC_ARGUMENTS]
        described = ", ".join([named.name, *map(_without_password, shown), *hidden])
        url = named.arguments.get("url", _KNOWN_URLS.get(named.name))
        if url is None:
            yield Finding("destination", described)
            continue
        trouble = _unreachable(url)
        yield Finding("destination", f"{described}: {trouble or 'can be reached'}", "wrong" if trouble else "ok")


def _without_password(text: str) -> str:
    scheme, found, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else text


def _unreachable(url: str) -> str | None:
    """Why no connection to this URL's host can be opened, None when one can."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        return f"{error}: give a URL such as http://127.0.0.1:8321"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no URL: give one such as http://127.0.0.1:8321"
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        return f"cannot be reached ({parts.hostname} port {port}: {error}); what is recorded waits in the journal"
    return None


def _journals(settings: Settings) -> Finding:
    above = settings.journal_home
    if above is None:
        return Finding("journal", "in memory only: what is not delivered when the process ends is lost", "note")
    directory = above / "journal"
    journals = [lock.parent for lock in directory.glob("*/owner.lock")]
    size_bytes = sum(_size_bytes(file) for journal in journals for file in journal.glob("*"))
    text = f"{directory}: {len(journals)} of running or ended processes, {size_bytes / 1e6:.1f} MB"
    refused = sum(1 for path in dead_letters.files(root_of(above)) for _ in dead_letters.read(path))
    if refused:
        return Finding("journal", f"{text}; {refused:,} records were refused (`spanloom journal ls`)", "wrong")
    return Finding("journal", text)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512 if hasattr(os, "statvfs") else path.stat().st_size
    except OSError:
        return 0


def _prices(store: Path) -> Finding:
    own = store.with_name(PRICES_FILE)
    try:
        prices = Prices.with_overrides(own)
    except SettingsError as error:
        return Finding("prices", str(error), "wrong")
    text = f"{len(prices.models)} models, bundled {prices.date}"
    return Finding("prices", f"{text}; some from {own}" if own.exists() else f"{text}; {own} would override them")


def _store(given: str | None) -> Iterator[Finding]:
    try:
        path = place.store_path(given)
        if given is None:
            place.take_in_journals()
    except SpanloomError as error:
        yield Finding("store", str(error), "wrong")
        return
    if given is not None and not path.exists():
        text = f"there is none at {path}: give the path of a file that `spanloom serve` or Local() wrote"
        yield Finding("store", text, "wrong")
        return
    if not path.exists():
        yield Finding("store", f"{path} (nothing recorded yet: try `spanloom demo`)", "note")
        return
    try:
        sound = looks_sound(path, _CHECK_SECONDS)
        with Reader(path, deadline_seconds=10.0) as reader:
            stats = reader.stats()
            losses = [loss for project in reader.projects() for loss in reader.losses(project=project)]
    except StoreError as error:
        yield Finding("store", str(error), "wrong")
        return
    yield Finding(
        "store",
        f"{path}\n{stats.runs:,} runs, {stats.events:,} events, {stats.feedback:,} feedback, {stats.usage_events:,} "
        f"actions and outcomes; {(stats.size_bytes + stats.wal_bytes) / 1e6:.1f} MB\n"
        + (f"search index behind by {stats.search_lag:,} runs" if stats.search == "fts5" else "no search index"),
    )
    if not sound:
        yield Finding(
            "store", "pages of it are damaged: save what can be read (`spanloom export --all --jsonl -o FILE`), move "
            "the file away, and `spanloom import FILE`", "wrong",
        )  # fmt: skip
    yield _prices(path)
    for aside in stats.quarantined:
        yield Finding("store", f"a corrupt store was set aside: {aside}", "wrong")
    for loss in losses:
        yield Finding("lost", f"{loss.count:,} for {loss.destination}: {loss.reason}", "wrong")
