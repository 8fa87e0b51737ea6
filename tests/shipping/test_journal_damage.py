"""Damaged journals: whatever the bytes, good records come out, lost ones are counted, and nothing runs or hangs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_cases import FULL, drain, end, everything, run

from spanloom.shipping import places
from spanloom.shipping import segment as form
from spanloom.shipping.journal import Journal

_LOCK = places.Owner(1 << 22, "1", "elsewhere").text()


def write_journal(home: Path, *segments: bytes, name: str = "20260101T000000-4194304-00000001") -> Path:
    """A dead journal made of these segment files."""
    folder = home / "journal" / name
    folder.mkdir(mode=0o700, parents=True)
    os.chmod(home / "journal", 0o700)
    (folder / "owner.lock").write_bytes(_LOCK)
    for number, data in enumerate(segments, 1):
        (folder / f"{number:06d}.seg").write_bytes(data)
    return folder


def sealed(first: int, count: int) -> bytes:
    """A segment with checksums."""
    frames = b"".join(form.frame(number, end(number)) for number in range(first, first + count))
    return form.header(first, 1) + frames + bytes(256)


def adopted(home: Path) -> tuple[list[str], dict[str, int], int]:
    """What is delivered, what is dropped, and how many records were seen."""
    journal = Journal(home)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    journal.adopt()
    found = drain(lane)
    journal.retire()
    counts = lane.counts()
    assert counts.balance() == 0 and counts.pending == 0
    journal.close()
    return found, counts.dropped, counts.seen


def test_a_corrupt_middle_costs_its_records_only(tmp_path: Path) -> None:
    """Records after a corrupt place are delivered; the lost are counted, and a copy of the segment is kept (C76)."""
    data = bytearray(sealed(1, 20))
    at = data.index(b"run-7.e")
    data[at - 60 : at + 200] = os.urandom(260)
    write_journal(tmp_path, bytes(data))
    found, dropped, seen = adopted(tmp_path)
    assert dropped == {"journal_damaged": 20 - len(found)} and seen == 20 and 15 < len(found) < 20
    (copy,) = (tmp_path / "journal" / "quarantine").iterdir()
    assert copy.read_bytes() == data


def test_a_lost_segment_in_the_middle_is_counted(tmp_path: Path) -> None:
    """The numbers that no segment holds are lost, and counted as that."""
    write_journal(tmp_path, sealed(1, 5), sealed(11, 5))
    found, dropped, seen = adopted(tmp_path)
    assert len(found) == 10 and dropped == {"journal_damaged": 5} and seen == 15


@settings(
    max_examples=3000 if FULL else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_damage_is_survived(tmp_path_factory: object, data: st.DataObject) -> None:
    """Flipped, cut, zeroed, inserted and foreign bytes: every delivered record is one of ours and whole, untouched
    frames before the first damage are delivered, the counts balance (C76, C94)."""
    home = Path(tmp_path_factory.mktemp("damage"))  # type: ignore[attr-defined]
    good = sealed(1, 12)
    raw = bytearray(good)
    first = len(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1)) if raw else 0
        first = min(first, at)
        match data.draw(st.sampled_from(["flip", "cut", "zero", "insert", "magic"])):
            case "flip" if raw:
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del raw[at:]
            case "zero":
                raw[at : at + 512] = bytes(len(raw[at : at + 512]))
            case "insert":
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=64))
            case _:
                raw[at:at] = form.FRAME_MAGIC_BYTES + b"\xff\xff\xff\x7f"
        if not raw:
            break
    write_journal(home, bytes(raw), sealed(13, 3))
    found, dropped, seen = adopted(home)
    whole = [f"run-{n}.e" for n in range(1, 13)]
    before = form.walk(good[:first] if first >= form.HEADER_BYTES else b"", form.HEADER_BYTES, 1)
    intact = [f"run-{frame.sequence}.e" for frame in before]
    assert found[-3:] == ["run-13.e", "run-14.e", "run-15.e"]
    assert set(found[:-3]) <= set(whole) and len(set(found)) == len(found)
    assert set(intact) <= set(found)
    assert seen == len(found) + sum(dropped.values()) <= 15


@settings(max_examples=2000 if FULL else 100, deadline=None)
@given(noise=st.binary(max_size=2000), least=st.integers(0, 1 << 60))
def test_noise_holds_no_records(noise: bytes, least: int) -> None:
    """The reader finds nothing in noise, and ends (C94)."""
    assert list(form.walk(noise, 0, least)) == []


def test_records_without_checksum_count_when_they_are_json(tmp_path: Path) -> None:
    """Before the keeper's checksum a record stands by its form: a page of zeros in it is not delivered (decision 4)."""
    raw = bytearray(form.header(1, 1))
    for number in range(1, 4):
        frame = bytearray(form.frame(number, end(number)))
        frame[16:24] = bytes(8)
        raw += frame
    raw[-60:-30] = bytes(30)
    write_journal(tmp_path, bytes(raw))
    found, _, _ = adopted(tmp_path)
    assert found == ["run-1.e", "run-2.e"]


def test_a_later_version_is_kept_unread(tmp_path: Path) -> None:
    """A segment from a later version is neither delivered nor deleted (C84)."""
    raw = bytearray(sealed(1, 3))
    raw[8] = 9
    raw[60:64] = __import__("zlib").crc32(raw[:60]).to_bytes(4, "little")
    folder = write_journal(tmp_path, bytes(raw))
    assert adopted(tmp_path)[0] == []
    assert (folder / "000001.seg").read_bytes() == raw


def test_segments_of_version_1_stay_readable() -> None:
    """The bytes of a frame and a header as version 1 wrote them (C84)."""
    data = form.header(7, 1_700_000_000_000_000) + form.frame(7, b'{"event":"x"}')
    assert data.hex() == (
        "53504c4d5345470a0100400000000000"
        "00401e18240a06000700000000000000" + "00" * 28 + data[60:64].hex() + "534c4d310d0000000700000000000000"
        "" + data[80:84].hex() + "01000000" + b'{"event":"x"}'.hex() + "000000"
    )
    assert form.read_header(data) == form.Header(1, 7, 1_700_000_000_000_000, 0)
    assert [frame.payload for frame in form.walk(data, 64, 1)] == [b'{"event":"x"}']


def test_planted_files_are_only_data(tmp_path: Path) -> None:
    """Links, pipes, foreign names and broken JSON in a journal's directory are not followed, read or run (C94)."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    folder = write_journal(tmp_path, sealed(1, 2))
    (folder / "000002.seg").symlink_to(secret)
    os.mkfifo(folder / "000003.seg")
    (folder / "d1.cursor").write_text("{broken")
    (folder / "destinations.json").write_text('["../../x"]')
    (folder / "open.json").write_text('[{"event": 1}]')
    found, _, _ = adopted(tmp_path)
    assert found == ["run-1.e", "run-2.e"] and secret.read_text() == "mine"


def test_lost_positions_cost_redelivery_only(tmp_path: Path) -> None:
    """Without its cursor file a journal is delivered from its start."""
    body = """
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
for number in range(5):
    journal.append(end(number))
lane.settle(lane.take(3, 1 << 20))
os.kill(os.getpid(), 9)
"""
    run(body, tmp_path, code=-9)
    (cursor,) = (tmp_path / "journal").glob("*/d1.cursor")
    assert json.loads(cursor.read_text())["next"] == 4
    cursor.write_bytes(b"")
    assert len(adopted(tmp_path)[0]) == 5
