"""Where the records of a segment are: in a mapping, on the heap, or in a file. The same three questions to each.

    put(item) -> bool            one more record (writers only); False when there is no room
    read(sequence, at, ...)      the next records as `segment.Frame`s
    tail                         (offset, next sequence number, last item), replaced in one store
    synced_end                   the sequence number up to which records survive a power cut (their file's name aside)

Promise: a record that `tail` covers is whole, and stays readable while a reader holds the body, whatever happens to the
segment. Only the thread that drains the journal calls ``put``; it may be interrupted anywhere by an exception (Ctrl-C)
and called again with the same item, which then lands in the same place. ``item`` is a fresh 1-tuple of the payload, so
that its identity tells one append from another.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

from . import places, segment
from .mapping import Mapping
from .segment import FRAME_BYTES, HEADER_BYTES, Frame

Item = tuple[bytes]
Tail = tuple[int, int, "Item | None"]

_WINDOW_BYTES = 256 * 1024


class MappedBody:
    """A preallocated file, written through its mapping. ``limit`` is the offset that appends may not pass: half of the
    file at first, so that the writer asks for a spare in time, then all of it."""

    __slots__ = (
        "_map",
        "_memory",
        "_words",
        "capacity",
        "checked",
        "doubted",
        "first",
        "limit",
        "path",
        "synced_end",
        "tail",
    )

    def __init__(self, mapping: Mapping, path: str, first: int, created_us: int) -> None:
        self._map = mapping
        self._memory = mapping.memory
        self._words = mapping.words
        self.path = path
        self.first = first
        self.capacity = len(mapping.memory)
        self.limit = self.capacity // 2
        self.checked = HEADER_BYTES
        self.synced_end = first
        self.doubted = False  # a sync failed: later ones say nothing, for the kernel may have let go of what it lost
        self.tail: Tail = (HEADER_BYTES, first, None)
        self._memory[:HEADER_BYTES] = segment.header(first, created_us)

    def put(self, item: Item) -> bool:
        at, sequence, _ = self.tail
        payload = item[0]
        size = len(payload)
        end = at + FRAME_BYTES + size
        if end > self.limit:
            return False
        self._memory[at + FRAME_BYTES : end] = payload
        words = self._words
        word = at >> 3
        words[word + 2] = 0
        words[word + 1] = sequence
        words[word] = size << 32 | segment.FRAME_MAGIC  # from here on it counts
        self.tail = ((end + 7) & ~7, sequence + 1, item)
        return True

    def read(self, sequence: int, at: int, max_events: int, max_bytes: int) -> list[Frame]:
        """Records from ``sequence`` on; ``at`` is its offset, or 0 when unknown."""
        words, memory = self._words, self._memory
        stop = self.tail[0]
        found: list[Frame] = []
        at, number = (at, sequence) if at else (HEADER_BYTES, self.first)
        while at < stop and len(found) < max_events and max_bytes > 0:
            size = words[at >> 3] >> 32
            end = at + segment.frame_size(size)
            if number >= sequence:
                found.append(Frame(number, memory[at + FRAME_BYTES : at + FRAME_BYTES + size], end))
                max_bytes -= size
            at, number = end, number + 1
        return found

    def check_behind(self, note: Callable[[int, bytes], None], size_bytes: int = 1 << 62) -> bool:
        """Write the checksums of what has come in since the last time, and show each record (sequence, payload), for
        about so many bytes; whether there is more."""
        end_of_all = self.tail[0]
        stop = min(end_of_all, self.checked + size_bytes)
        at, words, memory = self.checked, self._words, self._memory
        checked, crc32 = segment.CHECKED << 32, zlib.crc32
        while at < stop:  # `segment.checksum` and `segment.frame_size` written out: this is done for every record
            word, start = at >> 3, at + FRAME_BYTES
            end = start + (words[word] >> 32)
            payload = memory[start:end]
            words[word + 2] = checked | crc32(payload, crc32(memory[at + 8 : at + 16]))
            note(words[word + 1], payload)
            self.checked = at = (end + 7) & ~7
        return at < end_of_all

    def in_place(self) -> bool:
        """Whether our file is still the one at our path."""
        return places.identity_at(self.path) == self._map.identity

    @property
    def untouched_by_keeper(self) -> bool:
        """Whether no checksum has been written yet."""
        return self.checked == HEADER_BYTES

    def let_go_of_pages(self) -> None:
        """See `Mapping.let_go_of_pages`; for a body that is full."""
        self._map.let_go_of_pages()

    def swept(self) -> bool:
        """See `Mapping.swept`."""
        return self._map.swept()

    def synced(self) -> None:
        """Bring what was written to the disk; opened anew, for a kept descriptor could have become someone else's.
        Raises OSError, and from then on always."""
        if self.doubted:
            raise OSError(5, "an earlier sync failed", self.path)
        end = self.tail[1]
        descriptor = places.open_to_read(self.path, write=True)
        try:
            if places.identity(descriptor) != self._map.identity:
                raise FileNotFoundError(2, "another file is in the journal's place", self.path)
            self.doubted = True
            # The kernel protects each page against writing before it writes it out, and tells the other processors one
            # page at a time: 11 us each. Pages that are in nobody's table need none of that.
            self.let_go_of_pages()
            places.sync_data(descriptor)
            self.doubted = False
            self.synced_end = end
        finally:
            places.close(descriptor, self._map.identity)

    @property
    def size_bytes(self) -> int:
        return self.capacity


class HeapBody:
    """Records in memory: where there is no disk, or until the keeper has written them to one."""

    __slots__ = (
        "_doubted", "_payloads", "capacity", "first", "limit", "path", "spilled", "spilled_bytes", "synced_end", "tail",
    )  # fmt: skip

    def __init__(self, first: int, capacity: int) -> None:
        self._payloads: list[bytes] = []
        self.first = first
        self.capacity = self.limit = capacity
        self.path: str | None = None
        self.spilled = 0
        self.spilled_bytes = 0
        self.synced_end = first
        self._doubted: str | None = None  # a file that could not be synced, kept until there is another
        self.tail: Tail = (0, first, None)

    def put(self, item: Item) -> bool:
        size, sequence, _ = self.tail
        payload = item[0]
        if size + len(payload) > self.limit and size:
            return False
        index = sequence - self.first
        if index == len(self._payloads):
            self._payloads.append(payload)
        else:
            self._payloads[index] = payload
        self.tail = (size + len(payload), sequence + 1, item)
        return True

    def read(self, sequence: int, at: int, max_events: int, max_bytes: int) -> list[Frame]:
        """Records from ``sequence`` on."""
        found: list[Frame] = []
        stop = self.tail[1]
        while sequence < stop and len(found) < max_events and max_bytes > 0:
            payload = self._payloads[sequence - self.first]
            found.append(Frame(sequence, payload, 0))
            max_bytes -= len(payload)
            sequence += 1
        return found

    @property
    def size_bytes(self) -> int:
        return self.tail[0]

    @property
    def unsaved(self) -> int:
        """Records that are in memory only."""
        return self.tail[1] - self.first - self.spilled

    def spill(self, path: str, created_us: int, *, durable: bool = False) -> None:
        """Write what is not yet in the file, with checksums. Raises OSError; then it can be tried again, there or at
        another path."""
        fresh = self.path != path
        descriptor = places.create(path) if fresh else places.open_to_read(path, write=True)
        identity = places.identity(descriptor)
        try:
            if fresh:
                self.file_lost()
                self.path, self.spilled_bytes = path, HEADER_BYTES
                places.write_at(descriptor, segment.header(self.first, created_us), 0)
            while self.unsaved:
                batch = self._payloads[self.spilled : self.spilled + 256]
                number = self.first + self.spilled
                data = b"".join(segment.frame(number + i, payload) for i, payload in enumerate(batch))
                places.write_at(descriptor, data, self.spilled_bytes)
                self.spilled_bytes += len(data)
                self.spilled += len(batch)
            if durable:
                self._sync(descriptor)
        except OSError:
            if fresh and self.path:
                self.file_lost()
                places.remove(path)
            raise
        finally:
            places.close(descriptor, identity)

    def file_lost(self) -> None:
        """There is no file any more, or none to be trusted: everything is to be written again."""
        self.path, self.spilled, self.spilled_bytes, self.synced_end = None, 0, 0, self.first

    def _sync(self, descriptor: int) -> None:
        try:
            places.sync_data(descriptor)
        except OSError:
            if self._doubted:
                places.remove(self._doubted)
            self._doubted = self.path
            self.file_lost()
            raise
        self.synced_end = self.first + self.spilled
        if self._doubted:
            places.remove(self._doubted)
            self._doubted = None


def in_memory(body: MappedBody) -> HeapBody:
    """A sealed mapping's records on the heap, to be written elsewhere."""
    copy = HeapBody(body.first, body.capacity)
    for frame in body.read(body.first, 0, 1 << 62, 1 << 62):
        copy.put((frame.payload,))
    return copy


class FileBody:
    """A sealed segment on disk, opened for each reading and closed again: an old backlog costs no memory and no
    descriptor. ``tail`` says where its records end, as far as that is known."""

    __slots__ = ("_size", "first", "path", "tail")

    def __init__(self, path: str, first: int, tail: Tail, size_bytes: int) -> None:
        self.path = path
        self.first = first
        self.tail = tail
        self._size = size_bytes

    def put(self, item: Item) -> bool:
        return False

    @property
    def size_bytes(self) -> int:
        return self._size

    @property
    def synced_end(self) -> int:
        return self.tail[1]  # nobody makes a mapping or memory a `FileBody` before it is on the disk

    def read(self, sequence: int, at: int, max_events: int, max_bytes: int) -> list[Frame]:
        """Good records from ``sequence`` on, over damage if need be; fewer than asked at the end of the file only.
        Raises OSError when the file cannot be read."""
        found: list[Frame] = []
        descriptor = places.open_to_read(self.path)
        try:
            at, least = (at, sequence) if at else (HEADER_BYTES, self.first)
            window = _Window(descriptor, min(max_bytes + 4096, _WINDOW_BYTES))
            while len(found) < max_events and max_bytes > 0:
                frames = window.frames(at, least, max_events - len(found), max_bytes)
                if not frames:
                    break
                for frame in frames:
                    if frame.sequence >= sequence:
                        found.append(frame)
                        max_bytes -= len(frame.payload)
                at, least = frames[-1].end, frames[-1].sequence + 1
        finally:
            os.close(descriptor)
        return found


class _Window:
    """A part of a file in memory: a small one, and from the first trouble on everything to the file's end, because a
    frame that is merely cut off by the window must not be taken for damage."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size = size_bytes
        self._base = 0
        self._data = b""
        self._whole = False

    def frames(self, at: int, least: int, most: int, size_bytes: int) -> list[Frame]:
        """Good frames from an offset of the file on, or from the next good place; none when there are no more."""
        good = self._read(at, least, most, size_bytes)
        if not good and not self._whole:
            self._load(at, self._size)
            good = self._read(at, least, most, size_bytes)
        if not good and not self._whole:
            self._load(at, os.fstat(self._descriptor).st_size - at + 1)
            good = self._read(at, least, most, size_bytes)
        if not good and (found := segment.resync(self._data, at - self._base, least)) is not None:
            good = [found._replace(end=self._base + found.end)]
        return good

    def _read(self, at: int, least: int, most: int, size_bytes: int) -> list[Frame]:
        return segment.read_frames(
            self._data, at - self._base, least, most=most, size_bytes=size_bytes, base=self._base
        )

    def _load(self, at: int, size_bytes: int) -> None:
        self._base = at
        self._data = os.pread(self._descriptor, max(0, size_bytes), at)
        self._whole = len(self._data) < size_bytes


Body = MappedBody | HeapBody | FileBody


class Segment:
    """A link of the chain: ``body`` may be exchanged for another with the same records, ``next`` says it is sealed."""

    __slots__ = ("body", "born_seconds", "next")

    def __init__(self, body: Body, born_seconds: float) -> None:
        self.body: Body = body
        self.born_seconds = born_seconds
        self.next: Segment | None = None

    @property
    def first(self) -> int:
        return self.body.first

    @property
    def end(self) -> int:
        """The sequence number after its last record."""
        return self.body.tail[1]
