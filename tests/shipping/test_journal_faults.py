"""The journal beside a failing disk, a vanishing directory, and a host that closes all descriptors."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from journal_cases import SMALL, drain, everything, inherit, run, start

from spanloom.shipping.journal import Journal


def test_a_home_that_cannot_be_made_degrades_to_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no directory can be made, records are kept in memory, it is said once, and nothing is lost (C32, C72)."""
    (tmp_path / "home").write_text("in the way")
    journal = Journal(tmp_path / "home", limits=SMALL)
    lane = journal.lane("d1", everything)
    for number in range(20):
        journal.append(start(number))
    state = journal.state()
    assert state.mode == "memory" and state.trouble and state.unsaved == 20
    journal.sync(5)
    journal.sync(5)
    assert [record.getMessage().count("memory") for record in caplog.records] == [1]
    assert len(drain(lane)) == 20
    journal.close()


def test_memory_is_written_to_disk_when_there_is_one_again(tmp_path: Path) -> None:
    """After the trouble is over the records from memory are in files, with none missing and none twice (C72)."""
    (tmp_path / "home").write_text("in the way")
    body = """
journal = Journal(home, limits=SMALL)
for number in range(30):
    journal.append(start(number))
os.unlink(home)
while journal.state().mode != "disk":
    time.sleep(0.05)
for number in range(30, 60):
    journal.append(start(number))
assert journal.state().unsaved == 0, journal.state()
os.kill(os.getpid(), 9)
"""
    run(body.replace("os.kill", "time.sleep(0)\nos.kill"), tmp_path / "home", code=-9)
    assert inherit(tmp_path / "home")[:60] == [f"run-{n}.s" for n in range(60)]


def test_a_file_size_limit_is_met_without_a_signal(tmp_path: Path) -> None:
    """With RLIMIT_FSIZE below a segment and SIGXFSZ deadly, the host lives and the counts are exact (C72)."""
    body = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
for number in range(20):
    journal.append(start(number))
say(journal.state().mode)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
while journal.state().mode != "disk":
    time.sleep(0.05)
assert lane.counts().pending == 20 and lane.counts().balance() == 0
say(journal.state().mode)
journal.close()
"""
    assert run(body, tmp_path) == ["memory", "disk"]
    assert len(inherit(tmp_path)) == 40


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk(tmp_path: Path) -> None:
    """On a disk of 256 KiB: what was accepted stays, the rest goes to memory or is counted, and it recovers (C72)."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(mount)], check=False)
    if made.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        (mount / "ballast").write_bytes(bytes(180 * 1024))
        body = """
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
for number in range(400):
    journal.append(start(number, 200))
assert journal.state().mode == "memory"
refused = journal.state().refused["memory_full"]
counts = lane.counts()
assert counts.pending == 400 - refused and counts.dropped == {"memory_full": refused}, counts
os.unlink(home + "/ballast")
assert len(drain(lane)) == 400 - refused
journal.retire()
while journal.state().mode != "disk":
    journal.append(end(1))
    time.sleep(0.05)
drain(lane)
assert lane.counts().balance() == 0 and lane.counts().pending == 0
journal.close()
"""
        run(body, mount)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


def test_the_directory_is_deleted_while_running(tmp_path: Path) -> None:
    """After rm -rf the journal goes on in a new directory; what was in its mappings is there too (C77)."""
    body = """
import shutil
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
for number in range(30):
    journal.append(start(number))
shutil.rmtree(home + "/journal")
assert journal.sync(10)
for number in range(30, 60):
    journal.append(start(number))
assert journal.sync(10)
assert lane.counts().pending == 60 and lane.counts().balance() == 0
os.kill(os.getpid(), 9)
"""
    run(body, tmp_path, code=-9)
    assert inherit(tmp_path)[:60] == [f"run-{n}.s" for n in range(60)]


def test_deleted_sealed_segments_are_counted(tmp_path: Path) -> None:
    """Records in sealed segments that someone deleted are dropped as damaged, exactly; the others are delivered."""
    journal = Journal(tmp_path, limits=SMALL)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(300):
        journal.append(start(number, 100))
    assert journal.sync(10)
    sealed = sorted(Path(journal.state().path or "").glob("*.seg"))[1:3]
    for file in sealed:
        file.unlink()
    found = drain(lane)
    counts = lane.counts()
    assert counts.seen == 300 and counts.dropped == {"journal_damaged": 300 - len(found)} and counts.balance() == 0
    assert 0 < len(found) < 300
    journal.close()


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """When the journal's directory becomes a link to elsewhere, nothing is written through it (C77, C93)."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    journal = Journal(tmp_path / "home")
    lane = journal.lane("d1", everything)
    for number in range(10):
        journal.append(start(number))
    shutil.rmtree(tmp_path / "home" / "journal")
    (tmp_path / "home" / "journal").symlink_to(elsewhere)
    journal.sync(5)
    for number in range(10, 20):
        journal.append(start(number))
    journal.sync(5)
    assert journal.state().mode == "memory" and list(elsewhere.iterdir()) == []
    assert lane.counts().pending == 20 and lane.counts().balance() == 0
    journal.close()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="giving files away needs root")
def test_a_directory_of_someone_else_is_refused(tmp_path: Path) -> None:
    """A prepared directory that belongs to another user is not used (C93)."""
    (tmp_path / "journal").mkdir(0o777)
    os.chown(tmp_path / "journal", 12345, 12345)
    journal = Journal(tmp_path)
    journal.append(start(1))
    assert journal.state().mode == "memory" and "12345" in (journal.state().trouble or "")
    journal.close()
    assert list((tmp_path / "journal").iterdir()) == []


def test_a_sweep_of_descriptors_harms_nobody(tmp_path: Path) -> None:
    """After closerange the host's new files, which got our numbers, keep every byte; the journal goes on, and an
    adopter does not rob it (C26)."""
    body = """
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
for number in range(100):
    journal.append(start(number, 300))
journal.sync(10)
for number in range(100, 110):
    journal.append(start(number, 300))
journal.sync(10)
os.closerange(3, 256)
files = [open(f"{home}/user-{n}", "wb") for n in range(40)]
for number in range(110, 300):
    journal.append(start(number, 300))
    for file in files:
        file.write(b"user's own line\\n")
assert journal.sync(10)
other = Journal(home)
other.lane("d1", everything)
other.adopted_lane("d1")
assert other.adopt() == 0
assert len(drain(lane)) == 300
journal.retire()
journal.close()
del journal, lane, other
gc.collect()
for file in files:
    file.write(b"the end\\n")
    file.close()
for n in range(40):
    data = open(f"{home}/user-{n}", "rb").read()
    assert data == b"user's own line\\n" * 190 + b"the end\\n", (n, len(data))
say("fine")
"""
    assert run(body, tmp_path) == ["fine"]


def test_no_descriptors_left(tmp_path: Path) -> None:
    """With RLIMIT_NOFILE used up, records go to memory and come to disk later (C38)."""
    body = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for number in range(100):
    journal.append(start(number))
say(journal.state().mode)
for one in held:
    os.close(one)
while journal.state().mode != "disk":
    time.sleep(0.05)
assert lane.counts().pending == 100 and lane.counts().balance() == 0
journal.close()
"""
    assert run(body, tmp_path) == ["memory"]
    assert len([one for one in inherit(tmp_path) if one.endswith(".s")]) == 100


def test_where_mapping_is_not_trusted_the_keeper_writes_behind(tmp_path: Path) -> None:
    """On other file systems the keeper's thread writes the records, and the state says so (C80, decision 2)."""
    journal = Journal(tmp_path, mappable=False)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(200):
        journal.append(start(number, 100))
    assert journal.state().mode == "background"
    assert journal.sync(10)
    assert journal.state().unsaved == 0
    data = b"".join(file.read_bytes() for file in Path(journal.state().path or "").glob("*.seg"))
    assert all(start(number, 100) in data for number in range(200))
    assert len(drain(lane)) == 200
    journal.close()


def test_no_thread_to_be_had(tmp_path: Path) -> None:
    """Where no thread can be started the journal works without its keeper (C22, C28)."""
    body = """
import atexit
journal = Journal(home, limits=SMALL)
def late():
    for number in range(100):
        journal.append(start(number, 300))
    journal.sync(5)
    journal.close()
atexit.register(late)
"""
    run(body, tmp_path)
    assert inherit(tmp_path)[:100] == [f"run-{n}.s" for n in range(100)]


def test_power_mode_syncs(tmp_path: Path) -> None:
    """In ``power`` mode a sync says True once everything accepted is synced, and False never blocks past its time."""
    journal = Journal(tmp_path, sync="power", limits=SMALL)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(100):
        journal.append(start(number))
        if number % 20 == 0:
            assert journal.sync(10)
    assert len(drain(lane)) == 100
    journal.close()
