"""The log is carried into the file beside the commits (S18)."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from store_events import end, put, start

from spanloom.store import Reader, Store, sweeping

PAGE_BYTES = 8192


def test_the_log_is_carried_while_commits_go_on(tmp_path: Path) -> None:
    """After far more than a log's length, the file has grown by it, the log is short, and all is there."""
    path = tmp_path / "s.db"
    text = "x" * 100_000
    with Store(path, background=True) as store:
        for number in range(600):
            put(store, end(f"r{number}", output=text))
        for _ in range(2000):
            if path.stat().st_size > 30_000_000:
                break
            time.sleep(0.01)
        assert path.stat().st_size > 30_000_000
        assert path.with_name("s.db-wal").stat().st_size < 100_000_000
        with Reader(path) as reader:
            assert reader.stats().runs == 600
    checking = sqlite3.connect(path)
    assert checking.execute("pragma integrity_check").fetchall() == [("ok",)]
    checking.close()


def test_nobody_begins_the_log_anew_while_it_is_copied(tmp_path: Path) -> None:
    """With a snapshot held, as `carry` holds one, commits only ever add to the log: SQLite's old race cannot happen."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        put(store, start("a"))
        pinning = sqlite3.connect(path, isolation_level=None)
        pinning.execute("begin")
        pinning.execute("select 1 from sqlite_master limit 1").fetchone()
        sizes = []
        for number in range(20):
            put(store, start(f"b{number}"))
            sweeping.carry(path)
            sizes.append(path.with_name("s.db-wal").stat().st_size)
        assert sizes == sorted(sizes) and sizes[-1] > sizes[0]
        pinning.execute("rollback")
        pinning.close()
        with sqlite3.connect(path) as copying:
            sweeping.finish(copying)
        copying.close()
        grown = path.with_name("s.db-wal").stat().st_size
        put(store, start("c"))
        assert path.with_name("s.db-wal").stat().st_size == grown  # begun anew, in the room it has


def test_a_file_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    """A store that was deleted in between stays deleted."""
    try:
        sweeping.carry(tmp_path / "none.db")
    except sqlite3.OperationalError:
        pass
    assert os.listdir(tmp_path) == []
