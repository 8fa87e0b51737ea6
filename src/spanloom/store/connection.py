"""Opening the file: its place and permissions, its settings, its schema, and what to do when it is broken.

Promises: a file that we make is 0600 in a directory that is 0700; a file of a later schema or of another program is
refused untouched; a corrupt one is set aside under a new name, never wiped. Every sqlite3.Error leaves here, and the
rest of this room, as `StoreError`.
"""

from __future__ import annotations

import codecs
import logging
import os
import random
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ..errors import StoreError
from . import sql

APPLICATION_ID = 0x53504C4D  # "SPLM"
MIGRATIONS: tuple[str, ...] = ("schema.sql", "schema_2.sql")
"""The scripts that lead from version 0 to the present one, in order; version n is what the n-th leaves behind."""

_log = logging.getLogger("spanloom")
_T = TypeVar("_T")
_pauses = random.SystemRandom()  # never the shared generator, whose sequence belongs to the host program


def open_writer(path: Path, *, busy_seconds: float, scripts: Sequence[str] | None = None) -> sqlite3.Connection:
    """A connection that may write, its schema brought up to date by ``scripts`` (those of MIGRATIONS). Raises
    StoreError."""
    wanted = [sql.text(filename) for filename in MIGRATIONS] if scripts is None else scripts
    with translated(path):
        _make_file(path)
        connection = sqlite3.connect(
            path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.row_factory = sqlite3.Row
        try:
            retry_busy(lambda: check_identity(connection, path, len(wanted)), busy_seconds)  # before any change to it
            retry_busy(lambda: _settle(connection), busy_seconds)
            retry_busy(lambda: _migrate(connection, path, wanted), busy_seconds)
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write: read-only, query_only, and with ATTACH and PRAGMA denied. Raises StoreError."""
    if not path.is_file():
        raise StoreError(f"there is no store at {path}: nothing has been recorded there yet", reason="missing")
    with translated(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("pragma query_only = on")
            if check_identity(connection, path, len(MIGRATIONS)) == 0:
                raise StoreError(f"the store {path} is empty: nothing has been recorded there yet", reason="missing")
            connection.set_authorizer(_only_reading)
        except BaseException:
            connection.close()
            raise
        return connection


def _only_reading(action: int, one: str | None, two: str | None, _db: str | None, _by: str | None) -> int:
    """The last line of defence; the queries are ours and parameterised in the first place."""
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION, 33):
        return sqlite3.SQLITE_OK  # 33 is SQLITE_RECURSIVE, which Python names since 3.12 only
    if action == sqlite3.SQLITE_PRAGMA and one in _HARMLESS_PRAGMAS and two is None:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_UPDATE and one == "sqlite_master":
        return sqlite3.SQLITE_OK  # FTS5 declaring its columns to itself; the file is open read-only all the same
    return sqlite3.SQLITE_DENY


# data_version is what FTS5 asks for at each query; the others are the figures of `Stats`.
_HARMLESS_PRAGMAS = frozenset(("data_version", "page_count", "page_size", "freelist_count", "user_version"))


def check_identity(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """The schema's version; raises StoreError for a later one and for another program's database."""
    version, application, tables = connection.execute(_IDENTITY).fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreError(f"{path} is another program's database: give a path of its own to the store", reason="foreign")
    if version > newest:
        raise StoreError(
            f"{path} was written by a later Spanloom (schema {version}, this one knows {newest}): upgrade Spanloom",
            reason="newer_schema",
        )
    return int(version)


# In one statement, because another process may be making the tables between two.
_IDENTITY = """select
    (select user_version from pragma_user_version),
    (select application_id from pragma_application_id),
    (select count(*) from sqlite_master)"""


def _make_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    except FileExistsError:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StoreError(f"{path} is not a file: give a file's path to the store", reason="io") from None


def _settle(connection: sqlite3.Connection) -> None:
    # Pages of 8 KB hold three events of 2 KB; of 4 KB, one. Both settings only count before the first table.
    connection.execute("pragma page_size = 8192")
    connection.execute("pragma auto_vacuum = incremental")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma cache_size = -16000")
    connection.execute("pragma wal_autocheckpoint = 2000")
    connection.execute("pragma journal_size_limit = 67108864")


def _migrate(connection: sqlite3.Connection, path: Path, scripts: Sequence[str]) -> None:
    if check_identity(connection, path, len(scripts)) == len(scripts):
        return
    connection.execute("begin immediate")
    try:
        version = check_identity(connection, path, len(scripts))  # another process may have been first
        for script in scripts[version:]:
            for statement in sql.statements(script):
                connection.execute(statement)
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        connection.execute(f"pragma user_version = {len(scripts)}")
        connection.execute("commit")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("rollback")
        raise


def retry_busy(action: Callable[[], _T], seconds: float) -> _T:
    """Do it again while another process holds the file, at most this long.

    SQLite's own waiting is unfair to whoever has waited longest; short random pauses are not.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if reason_of(error) != "busy" or time.monotonic() >= deadline:
                raise
        time.sleep(_pauses.uniform(0.0005, 0.01))


def reason_of(error: sqlite3.Error) -> str:
    """The word of `StoreError.reason`. By the message, because Python names the code only since 3.11."""
    message = str(error)
    if "locked" in message or "busy" in message:
        return "busy"
    if "is full" in message:
        return "disk_full"
    if "malformed" in message or "not a database" in message or "corrupt" in message:
        return "corrupt"
    if "interrupted" in message:
        return "timeout"
    if "closed" in message:
        return "closed"
    return "io"


_CURES = {
    "busy": "another program holds it; try again, or end that program",
    "disk_full": "make room on that disk",
    "corrupt": "it is corrupt: move it away, or have `spanloom serve` (without --refuse-corrupt) set it aside",
    "timeout": "narrow the query",
    "io": "see that the path can be read and written",
    "closed": "open it again",
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn sqlite3's and the operating system's errors into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        reason = reason_of(error)
        raise StoreError(f"the store {path}: {error}: {_CURES[reason]}", reason=reason) from error
    except OSError as error:
        reason = "disk_full" if error.errno == 28 else "io"
        raise StoreError(f"the store {path}: {error}: {_CURES[reason]}", reason=reason) from error


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at this path, None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def quick_check(connection: sqlite3.Connection, seconds: float) -> bool:
    """Whether the file seems sound, as far as that can be told in this time."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 20_000)
    try:
        return [tuple(row) for row in connection.execute("pragma quick_check(1)")] == [("ok",)]
    except sqlite3.Error as error:
        return reason_of(error) != "corrupt"
    finally:
        connection.set_progress_handler(None, 0)


def looks_sound(path: Path, seconds: float) -> bool:
    """`quick_check` of a file as it is, without writing to it. Raises StoreError when it cannot be opened."""
    with translated(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        try:
            return quick_check(connection, seconds)
        finally:
            connection.close()


def _was_never_ours(path: Path) -> bool:
    """Whether a file that is no database is somebody's text, named by mistake: ours are made for their owner alone."""
    if os.name == "nt" or not os.stat(path).st_mode & 0o077:
        return False
    with path.open("rb") as file:
        beginning = file.read(512)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)  # which may end within a character
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\r\n" for letter in text)


def quarantine(path: Path, broken: tuple[int, int] | None) -> list[Path]:
    """Set a corrupt file aside with its companions; returns their new names (empty when another process was first)."""
    if identity(path) != broken:
        return []
    if _was_never_ours(path):
        raise StoreError(f"{path} is a text file and no store: give a path of its own to the store", reason="foreign")
    ending = f".corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    moved = []
    for companion in ("", "-wal", "-shm"):
        old = path.with_name(path.name + companion)
        new = path.with_name(path.name + ending + companion)
        with suppress(FileNotFoundError):
            old.rename(new)
            moved.append(new)
    _log.error("the store %s is corrupt: it was set aside as %s, and a new one begun", path, path.name + ending)
    return moved


def quarantined(path: Path) -> list[str]:
    """The files that were set aside beside this one."""
    return sorted(
        str(found) for found in path.parent.glob(f"{path.name}.corrupt-*") if not found.name.endswith(("-wal", "-shm"))
    )
