"""The write-ahead log is carried into the file beside the commits, not by them.

Theory of operation. SQLite does it inside whichever commit finds the log long enough, and everyone who waits for that
commit waits for two more fsyncs and thousands of pages: 70 to 350 ms at 5,000 events a second, against 5 ms. So a
store with a thread of its own does it there, in two steps. `carry` copies what the log holds by now through a
connection of its own, while commits go on. What came meanwhile is little; the writer itself copies it, with its lock
held, and its next commit begins the log anew.

While `carry` works, a second connection holds a snapshot of the log, because SQLite before 3.51.3 can damage a file
whose log is begun anew by one connection at the moment at which another one copies it; nobody begins a log anew that
somebody reads.

Must never: hold the writer's lock during `carry`, or keep a connection afterwards.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def carry(path: Path) -> None:
    """Copy what the log holds into the file. Raises sqlite3.Error; what was not copied stays in the log."""
    with closing(_connect(path)) as pinning, closing(_connect(path)) as copying:
        pinning.execute("begin")
        pinning.execute("select 1 from sqlite_master limit 1").fetchone()
        try:
            finish(copying)
        finally:
            pinning.execute("rollback")


def finish(connection: sqlite3.Connection) -> None:
    """Copy the rest; as much of it as no reader still needs in the log."""
    connection.execute("pragma wal_checkpoint(passive)").fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    # By URI, so that a file that is gone meanwhile is not made anew.
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0.0, isolation_level=None)
