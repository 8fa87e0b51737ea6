"""The form of a segment file: a header, then frames; and how to read one that a fault has been at.

Promise: every intact record is found, whatever lies around it, and what is damaged is counted. Data only: nothing
read here is ever run, and no length read here is trusted before it is checked against the file.

Theory of operation. All numbers are little-endian and frames begin at multiples of 8::

    header, 64 bytes: magic 8 | version u16 | header size u16 | codec u16 | flags u16 | created us u64
                      | first sequence u64 | zero | crc32 u32 of the 60 bytes before
    frame:            commit word u64 (magic u32 | payload length u32) | sequence u64
                      | crc32 u32 of sequence and payload | frame flags u32 | payload | zeros up to a multiple of 8

A writer copies payload and sequence first and stores the commit word last, in one 8-byte store: a process killed
between the two leaves a clean tail. The checksum is written behind, before fsync; ``CHECKED`` says that it is there.
Without it a frame counts when its sequence number fits and its payload is well-formed JSON (the page cache of a killed
process is not torn; a power cut leaves pages of zeros, and JSON holds no NUL). After damage the reader looks for
the next magic whose frame verifies; the gap in the sequence numbers says how many records were lost.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

MAGIC = b"SPLMSEG\n"
VERSION = 1
HEADER_BYTES = 64
FRAME_BYTES = 24
FRAME_MAGIC = 0x314D4C53  # b"SLM1" as it stands in the file
FRAME_MAGIC_BYTES = FRAME_MAGIC.to_bytes(4, "little")
CHECKED = 1
FLAG_EPITAPH = 1
"""A header's flag: this segment was added by an adopter, to close the runs of a dead process."""

MAX_PAYLOAD_BYTES = 1 << 28

_HEADER = struct.Struct("<8sHHHHQQ")
_FRAME = struct.Struct("<IIQII")
_SEQUENCE = struct.Struct("<Q")
_json_raw = msgspec.json.Decoder(msgspec.Raw)

Buffer = bytes | bytearray | memoryview


class Header(NamedTuple):
    """A segment's header; ``first`` is 0 when it was never used."""

    version: int
    first: int
    created_us: int
    flags: int


class Frame(NamedTuple):
    """One good record in a buffer: ``end`` is the offset of what follows it."""

    sequence: int
    payload: bytes
    end: int


def frame_size(payload_bytes: int) -> int:
    """Bytes that a payload takes in a segment."""
    return (FRAME_BYTES + payload_bytes + 7) & ~7


def header(first: int, created_us: int, flags: int = 0) -> bytes:
    """A header's 64 bytes."""
    fields = _HEADER.pack(MAGIC, VERSION, HEADER_BYTES, 0, flags, created_us, first).ljust(HEADER_BYTES - 4, b"\0")
    return fields + zlib.crc32(fields).to_bytes(4, "little")


def read_header(data: Buffer) -> Header | None:
    """The header, or None when these bytes are no segment of ours, or are damaged."""
    data = bytes(data[:HEADER_BYTES])
    if len(data) < HEADER_BYTES or zlib.crc32(data[:60]) != int.from_bytes(data[60:], "little"):
        return None
    magic, version, _size, _codec, flags, created_us, first = _HEADER.unpack_from(data)
    return Header(version, first, created_us, flags) if magic == MAGIC else None


def checksum(sequence: int, payload: Buffer) -> int:
    """A frame's crc32."""
    return zlib.crc32(payload, zlib.crc32(_SEQUENCE.pack(sequence)))


def frame(sequence: int, payload: bytes) -> bytes:
    """A whole frame with its checksum, for writers that write(2)."""
    head = _FRAME.pack(FRAME_MAGIC, len(payload), sequence, checksum(sequence, payload), CHECKED)
    return head + payload + bytes(-len(payload) % 8)


def read_frame(data: Buffer, at: int, least: int) -> Frame | None:
    """The frame at an offset, if a good one is there whose sequence number is at least ``least``."""
    found = read_frames(data, at, least, most=1)
    return found[0] if found else None


def read_frames(
    data: Buffer, at: int, least: int, *, most: int, size_bytes: int = 1 << 62, base: int = 0
) -> list[Frame]:
    """Good frames one after another from an offset on, up to the first trouble, ``most`` of them or ``size_bytes`` of
    payload, the last one whole. ``base`` is where the data begin, in terms of the frames' ends."""
    found: list[Frame] = []
    unpack, crc32, stop = _FRAME.unpack_from, zlib.crc32, len(data)
    while at + FRAME_BYTES <= stop and len(found) < most and size_bytes > 0:
        magic, length, sequence, crc, flags = unpack(data, at)
        start = at + FRAME_BYTES
        end = start + length
        if magic != FRAME_MAGIC or sequence < least or length > MAX_PAYLOAD_BYTES or end > stop:
            break
        payload = bytes(data[start:end])
        if flags & CHECKED:
            if crc32(payload, crc32(data[at + 8 : at + 16])) != crc:
                break
        elif sequence >= least + (1 << 32) or not _well_formed(payload):
            break
        at, least = (end + 7) & ~7, sequence + 1
        size_bytes -= length
        found.append(Frame(sequence, payload, base + at))
    return found


def wanted_bytes(data: Buffer, at: int) -> int:
    """How many bytes from ``at`` a frame claims to take; 0 when there is no frame's head."""
    if at + FRAME_BYTES > len(data):
        return 0
    magic, length, *_ = _FRAME.unpack_from(data, at)
    return frame_size(length) if magic == FRAME_MAGIC and length <= MAX_PAYLOAD_BYTES else 0


def walk(data: bytes, at: int, least: int) -> Iterator[Frame]:
    """Every good frame from an offset on, resynchronising over damage (see `next_frame_at`)."""
    while True:
        found = read_frame(data, at, least)
        if found is None:
            found = resync(data, at, least)
            if found is None:
                return
        yield found
        at, least = found.end, found.sequence + 1


def resync(data: bytes, at: int, least: int) -> Frame | None:
    """The next good frame after a bad place, or None."""
    while (at := data.find(FRAME_MAGIC_BYTES, at + 1)) >= 0:
        if at % 8 == 0 and (found := read_frame(data, at, least)) is not None:
            return found
    return None


def _well_formed(payload: bytes) -> bool:
    if not payload.startswith(b'{"event":"') or not payload.endswith(b"}"):
        return False
    try:
        _json_raw.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
