"""Writing: committed before it is answered, once for each event, whoever else writes, whatever becomes of the file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from msgspec import Raw, structs
from store_events import end, feedback, put, start

from spanloom.errors import StoreError
from spanloom.store import Incoming, Reader, Retention, Store, Stored
from spanloom.store.connection import APPLICATION_ID, MIGRATIONS, open_writer
from spanloom.store.sql import text

NEW, KNOWN, CONFLICT = Stored(new=True), Stored(new=False), Stored(new=False, conflict=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.db"


def run_ids(path: Path) -> set[str]:
    with Reader(path) as reader:
        return {run.id for run in reader.runs(limit=10_000).runs}


def sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("pragma integrity_check").fetchone()[0] == "ok"
    finally:
        connection.close()


def python(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """A program of its own; read to its end by `ended`."""
    source = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{textwrap.dedent(script)}"
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def ended(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def test_an_event_counts_once_and_the_first_content_stands(path: Path) -> None:
    """A replay is known, the same id with other content is a conflict and changes nothing (S25)."""
    with Store(path) as store:
        assert put(store, start("r", name="one")) == [NEW]
        assert put(store, start("r", name="one"), start("r", name="two")) == [KNOWN, CONFLICT]
        assert put(store, start("r", name="two"), project="other") == [NEW]
    with Reader(path) as reader:
        found = reader.run("r")
        assert found is not None and found.run.name == "one"


def test_usage_events_count_once_by_their_idempotency_key(path: Path) -> None:
    """The key decides, not the event id; another content under a known key is a conflict (S25)."""
    from spanloom.records import Outcome

    done = Outcome(
        event_id="o1", timestamp="2026-01-31T12:00:00Z", name="done", idempotency_key="k", customer="c", value=2
    )
    with Store(path) as store:
        assert put(store, done, structs.replace(done, event_id="o2")) == [NEW, KNOWN]
        assert put(store, structs.replace(done, event_id="o3", value=3)) == [CONFLICT]
        assert put(store, done, project="other") == [NEW]
    with Reader(path) as reader:
        assert [(row.name, row.value) for row in reader.usage_events()] == [("done", 2.0)]
        assert reader.usage_sums()[0].value == 2.0


def test_one_of_sixty_four_that_race_is_new(path: Path) -> None:
    """Threads with the same event behind one barrier: exactly one row and one "new" (S25)."""
    barrier, answers = threading.Barrier(16), []
    with Store(path) as store:

        def race() -> None:
            barrier.wait(30)
            for _ in range(4):
                answers.extend(put(store, start("r")))

        threads = [threading.Thread(target=race) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers.count(NEW) == 1 and answers.count(KNOWN) == 63


WRITER = """
import sys
from spanloom.store import Incoming, Store
from store_events import end, put, start
name, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store(path, busy_seconds=60) as store:
    for number in range(count):
        run_id = f"{name}-{number}"
        put(store, start(run_id, input="x" * 500), end(run_id, output="y" * 500))
        print(run_id, flush=True)
"""


def test_eight_processes_write_while_others_read(path: Path) -> None:
    """Nothing is lost and nobody sees a locked database, from the making of the file on (S18)."""
    path.parent.mkdir()
    writers = [python(WRITER, f"w{number}", path, 40) for number in range(8)]
    reader = Reader(path, deadline_seconds=30)
    looks = 0
    while any(writer.poll() is None for writer in writers):
        try:
            reader.runs(limit=20)
            reader.stats()
            looks += 1
        except StoreError as error:
            assert error.reason == "missing", error  # before the first writer is up
    reader.close()
    returned = set()
    for writer in writers:
        code, out, err = ended(writer)
        assert (code, err) == (0, "")
        returned |= set(out.split())
    assert looks > 5
    assert len(returned) == 320 and run_ids(path) == returned
    assert sound(path)


@pytest.mark.parametrize("moment", [1, 7, 23])
def test_what_was_answered_survives_a_kill(path: Path, moment: int) -> None:
    """SIGKILL after some answers: every run whose write returned is there, and the file is sound (S19)."""
    writer = python(WRITER, "w", path, 100_000)
    assert writer.stdout is not None
    returned = {writer.stdout.readline().strip() for _ in range(moment)}
    writer.send_signal(signal.SIGKILL)
    out, _ = writer.communicate(timeout=30)
    returned |= set(out.split("\n")[:-1]) - {""}
    assert returned <= run_ids(path)
    with Store(path) as store:
        assert put(store, start("after")) == [NEW]
    assert sound(path)


def test_files_are_the_owners_alone(path: Path) -> None:
    """0600 in a 0700 directory, whatever the umask, the write-ahead log included (C93)."""
    before = os.umask(0)
    try:
        with Store(path) as store:
            put(store, start("r"))
            modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert set(modes) == {"store.db", "store.db-wal", "store.db-shm"} and set(modes.values()) == {0o600}


def test_a_later_schema_is_refused_untouched(path: Path) -> None:
    """A file of a later Spanloom: a clear error for writer and reader, and not one byte changed (S22)."""
    with Store(path) as store:
        put(store, start("r"))
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 99")
    connection.close()
    before = path.read_bytes()
    for attempt in (lambda: Store(path).open(), lambda: Reader(path).runs()):
        with pytest.raises(StoreError, match="later Spanloom") as caught:
            attempt()
        assert caught.value.reason == "newer_schema"
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    """It is neither written nor set aside."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("create table theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program") as caught:
        Store(path).write([Incoming(start("r"))])
    assert caught.value.reason == "foreign"
    assert path.read_bytes() == before


def test_a_schema_is_brought_up_to_date_in_one_step(path: Path) -> None:
    """A file of today meets two later scripts: their changes are there, its runs too; a failing one leaves all."""
    with Store(path) as store:
        put(store, start("r"))
    now = [text(filename) for filename in MIGRATIONS]
    with pytest.raises(StoreError):
        open_writer(path, busy_seconds=1, scripts=[*now, "create table more (x);\ninsert into nowhere values (1);"])
    connection = open_writer(path, busy_seconds=1, scripts=[*now, "create table more (x);", "alter table more add y;"])
    assert connection.execute("pragma user_version").fetchone()[0] == len(now) + 2
    assert connection.execute("pragma application_id").fetchone()[0] == APPLICATION_ID
    assert [row["name"] for row in connection.execute("pragma table_info(more)")] == ["x", "y"]
    assert connection.execute("select run_id from runs").fetchone()[0] == "r"
    connection.close()


def corrupt_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def corrupt_everything(path: Path) -> None:
    path.write_bytes(b"this is no database. " * 5000)


@pytest.mark.parametrize("harm", [corrupt_header, corrupt_everything])
def test_a_corrupt_file_is_set_aside_and_said(path: Path, harm, caplog: pytest.LogCaptureFixture) -> None:
    """A new store begins, the old bytes are kept under another name, and the log says so (S22)."""
    with Store(path) as store:
        put(store, start("old"))
    harm(path)
    broken = path.read_bytes()
    with Store(path) as store:
        assert put(store, start("new")) == [NEW]
        (aside,) = store.set_aside
    assert aside.read_bytes() == broken and "corrupt" in caplog.text
    assert run_ids(path) == {"new"}
    with Reader(path) as reader:
        assert reader.stats().quarantined == [str(aside)]


@pytest.mark.skipif(os.name == "nt", reason="there a file's mode does not tell whose it is")
def test_somebodys_text_is_no_corrupt_store(path: Path) -> None:
    """A path typed wrong: a text that others may read was never a store; it stays where it is, as it is (S22)."""
    path.parent.mkdir(parents=True)
    path.write_text("Grüße: these are somebody's notes\n" * 50, "utf-8")
    path.chmod(0o644)
    with pytest.raises(StoreError, match="is a text file and no store") as caught:
        Store(path).open()
    assert caught.value.reason == "foreign" and path.read_text("utf-8").startswith("Grüße")
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_corrupt_file_can_be_refused_instead(path: Path) -> None:
    """With on_corrupt="refuse" it stays where it is and the caller is told (S22)."""
    with Store(path) as store:
        put(store, start("old"))
    corrupt_header(path)
    with pytest.raises(StoreError, match=r"corrupt|not a database") as caught:
        Store(path, on_corrupt="refuse").open()
    assert caught.value.reason == "corrupt" and len(list(path.parent.glob("*corrupt*"))) == 0


def test_flipped_pages_never_crash_and_never_wipe(path: Path) -> None:
    """Damage in the middle: writing goes on, in this file or in a new one beside the old (S22)."""
    with Store(path) as store:
        for number in range(30):
            put(store, start(f"r{number}", input="x" * 3000))
    whole = path.read_bytes()
    for page in range(1, len(whole) // 8192, 4):
        for companion in path.parent.iterdir():
            companion.unlink()
        path.write_bytes(whole[: page * 8192] + b"\xa5" * 8192 + whole[(page + 1) * 8192 :])
        with Store(path, check_seconds=5) as store:
            assert put(store, start("new"), feedback(1, {"thumb": "up"}, run_id="new")) == [NEW, NEW]
            assert store.set_aside and store.set_aside[0].exists()
        assert "new" in run_ids(path)


def test_a_store_that_is_deleted_or_replaced_is_begun_anew(path: Path) -> None:
    """The file goes away under a running writer and reader: both go on with what is at the path (S22)."""
    with Store(path) as store, Reader(path) as reader:
        put(store, start("one"))
        assert len(reader.runs().runs) == 1
        for companion in path.parent.iterdir():
            companion.unlink()
        assert put(store, start("two")) == [NEW]
        assert [run.id for run in reader.runs().runs] == ["two"]


def test_a_directory_in_the_files_place_is_said(path: Path) -> None:
    """The message names the path and the cure."""
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="is not a file"):
        Store(path).open()
    with pytest.raises(StoreError, match="there is no store"):
        Reader(path).runs()


def test_a_foreign_lock_is_waited_for_and_then_said(path: Path) -> None:
    """Another program holds the file: "busy" after the patience given, and all is well when it lets go (S21)."""
    with Store(path, busy_seconds=0.2) as store:
        put(store, start("one"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin exclusive")
        with pytest.raises(StoreError) as caught:
            put(store, start("two"))
        assert caught.value.reason == "busy"
        with Reader(path) as reader:
            assert len(reader.runs().runs) == 1
        other.execute("rollback")
        other.close()
        assert put(store, start("two")) == [NEW]


FULL = """
import resource, sys
from spanloom.errors import StoreError
from spanloom.store import Store
from store_events import put, start
with Store(sys.argv[1]) as store:
    put(store, start("before"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    for number in range(50):
        try:
            put(store, start(f"r{number}", input="x" * 30_000))
            print(f"r{number}")
        except StoreError as error:
            print("refused", error.reason, file=sys.stderr)
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    put(store, start("after"))
"""


def test_a_full_disk_loses_nothing_that_was_answered(path: Path) -> None:
    """Files may not grow: the write is refused whole, what was answered is there, and it recovers by itself (S23)."""
    code, out, err = ended(python(FULL, path))
    assert code == 0, err
    assert err.split() in (["refused", "io"], ["refused", "disk_full"])
    assert run_ids(path) == {"before", "after", *out.split()}
    assert sound(path)


def write_in_child(store: Store, sender) -> None:  # type: ignore[no-untyped-def]
    sender.send(put(store, start("child")))
    sender.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own(path: Path) -> None:
    """The same Store object in parent and child: both write, nothing is lost, the file is sound (C24)."""
    context = multiprocessing.get_context("fork")
    with Store(path) as store:
        put(store, start("parent"))
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=write_in_child, args=(store, sender))
        child.start()
        assert receiver.poll(30) and receiver.recv() == [NEW]
        child.join(30)
        assert child.exitcode == 0
        assert put(store, start("parent again")) == [NEW]
    assert run_ids(path) == {"parent", "child", "parent again"}
    assert sound(path)


def test_a_closed_store_says_so(path: Path) -> None:
    """Closing twice is fine; writing afterwards raises."""
    store = Store(path)
    put(store, start("r"))
    store.close()
    store.close()
    with pytest.raises(StoreError) as caught:
        put(store, start("r"))
    assert caught.value.reason == "closed"
    assert Store(path).write([]) == []


def test_the_background_thread_fills_the_index_and_ends(path: Path) -> None:
    """Runs become searchable without being asked for, and close() leaves no thread behind."""
    from spanloom.store import RunFilter

    with Store(path, background=True, retention=Retention()) as store:
        put(store, start("r", input="a needle in the hay"))
        with Reader(path) as reader:
            for _ in range(500):
                if not reader.stats().search_lag:
                    break
                threading.Event().wait(0.01)
            assert [run.id for run in reader.runs(RunFilter(text="needle")).runs] == ["r"]
    assert not [thread for thread in threading.enumerate() if thread.name == "spanloom-store"]


def test_the_event_as_it_was_received_is_kept(path: Path) -> None:
    """Fields that this version does not know are in the store beside the record (S39)."""
    foreign = b'{"event":"start","runId":"r","level":"debug","future":{"a":1}}'
    with Store(path) as store:
        store.write([Incoming(start("r", input=None), raw=foreign), Incoming(end("r"))])
    with Reader(path) as reader:
        first, second = reader.events("r")
    assert (first.kind, first.raw) == ("start", foreign)
    assert second.kind == "end" and b'"eventId":"r.e"' in second.raw


def test_content_is_kept_byte_for_byte(path: Path) -> None:
    """JSON goes in and comes out unparsed: key order, number forms and escapes are the owner's."""
    odd = b'{"b": 1.50, "a": "\\u00e9\\/", "n": 1e2}'
    with Store(path) as store:
        put(store, structs.replace(start("r"), input=Raw(odd)))
    with Reader(path) as reader:
        found = reader.run("r")
    assert found is not None and bytes(found.content.input or b"") == odd


def test_a_commit_is_on_disk_when_it_returns(path: Path) -> None:
    """synchronous=FULL in WAL mode, so that power loss takes nothing that was answered (S20)."""
    connection = open_writer(path, busy_seconds=1)
    assert connection.execute("pragma synchronous").fetchone()[0] == 2
    assert connection.execute("pragma journal_mode").fetchone()[0] == "wal"
    connection.close()
