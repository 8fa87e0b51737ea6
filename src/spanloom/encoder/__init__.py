"""Any Python value as bounded, redacted, strict JSON bytes, at once, on the caller's thread.

Promises: `Encoder.snapshot` is total (every value gives JSON), bounded (`Limits`), and never raises, except for a
KeyboardInterrupt or its like that belongs to the host. Must never call user code other than the redact hook, block, or
keep a reference to a user's object.

Theory of operation. Most values are small trees of exact builtin types. `_fast` copies such a tree level by level
(the copy is private, so no other thread can change what is checked), encodes it with orjson, and asks the redactor one
question about the bytes. If the answer is "maybe", the strings of the copy are cleaned and it is encoded again.
Whatever `_fast` does not know (another type, a telling key, a long string, a hook) goes to `walk.Walk`, which treats
everything; for plain values both give the same bytes.

Made safe once, for all destinations: NUL becomes U+2400, a lone surrogate U+FFFD, an integer beyond 2^53 and a float
that is not finite a string. What orjson returns may hold more memory than its length (4 KB for 64 bytes was seen):
callers join it into a record at once, which copies exactly.
"""

from __future__ import annotations

from typing import Any

import orjson

from .kinds import summary
from .limits import Limits, Path, Redacting
from .walk import Walk

__all__ = ["Encoder", "Limits", "Path", "Redacting"]

_OPTIONS = (
    orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_dumps = orjson.dumps


class Encoder:
    """Encodes with one set of limits and one redactor (`spanloom.redaction.Redactor`, or None to redact nothing).

    ``failures`` counts values that became a placeholder because encoding them failed.
    """

    __slots__ = ("_depth", "_fast_chars", "_plain_keys", "failures", "limits", "redactor")

    def __init__(self, limits: Limits | None = None, redactor: Redacting | None = None) -> None:
        self.limits = limits if limits is not None else Limits()
        self.redactor = redactor
        self.failures = 0
        # A character takes at most 4 bytes of UTF-8, so below this no string can exceed its limit.
        self._fast_chars = min(self.limits.string_bytes // 4, self.limits.value_bytes // 4)
        self._plain_keys: set[str] = redactor.plain_keys if redactor is not None else set()

    def snapshot(self, value: object, path: Path = ()) -> bytes:
        """The value as JSON (UTF-8). ``path`` says where it belongs (``("input",)``), for the user's hook.

        Nothing raises; a value that cannot be encoded at all becomes ``"<not encoded: ErrorName>"`` and is counted.
        """
        try:
            if self.redactor is None or self.redactor.hook is None:
                encoded = self._fast(value)
                if encoded is not None:
                    return encoded
            return _dumps(Walk(self.limits, self.redactor).run(value, path), None, _OPTIONS)
        except Exception as error:  # the encoder's own door: the value is withheld, counted, and said to be
            return self._placeholder(error)

    def text(self, value: object, limit_bytes: int = 1024, path: Path | None = None) -> bytes:
        """A name, an id or a tag as a JSON string of at most ``limit_bytes`` (a marker says when it was cut).

        Text is kept, numbers become digits, all else ``<ClassName>``. The rules apply; the hook only when ``path`` is
        given.
        """
        try:
            walk = Walk(Limits(string_bytes=limit_bytes), self.redactor, ask_hook=path is not None)
            if type(value) is str:
                hooked = path is not None and self.redactor is not None and self.redactor.hook is not None
                if len(value) * 4 <= limit_bytes and not hooked:
                    encoded = self._fast(value)
                    if encoded is not None:
                        return encoded
                return _dumps(walk.text(value, path or ()))
            found = walk.run(value, path or ())
            if type(found) in (dict, list) or found is None:
                found = summary(value)
            return _dumps(found if type(found) is str else str(found))
        except Exception as error:  # as in `snapshot`
            return self._placeholder(error)

    def _placeholder(self, error: Exception) -> bytes:
        self.failures += 1
        return b'"<not encoded: %b>"' % type(error).__name__.encode("ascii", "replace")

    def _fast(self, value: Any) -> bytes | None:
        """Plain values; None for what only the walk can do."""
        if type(value) is str:
            if len(value) > self._fast_chars:
                return None
            copies: list[Any] = [[value]]
            separators = 0
        else:
            try:
                copied = self._copied(value)
            except RuntimeError:  # changed by another thread while being copied; the walk tries again
                return None
            if copied is None:
                return None
            copies, separators = copied
        try:
            encoded = _dumps(copies[0][0], None, _OPTIONS)
        except orjson.JSONEncodeError:  # a lone surrogate, an integer beyond 2^53
            return None
        if len(encoded) > self.limits.value_bytes or (b"\\" in encoded and b"\\u0000" in encoded):
            return None
        redactor = self.redactor
        if redactor is None or not redactor.suspects(encoded, separators):
            return encoded
        cleaned = _clean(copies, redactor)
        return encoded if cleaned == 0 else _dumps(copies[0][0], None, _OPTIONS) if cleaned > 0 else None

    def _copied(self, value: Any) -> tuple[list[Any], int] | None:
        """A private copy of a tree of exact builtin types: its containers, the first of which holds the root, and the
        number of keys in it. None when something in it needs the walk.

        One loop, written out, since each call would cost 50 ns: 0.9 us for a chat message list.
        """
        plain_keys, fast_chars = self._plain_keys, self._fast_chars
        nodes_left, separators = self.limits.nodes, 0
        root: list[Any] = []
        copies: list[Any] = [root]
        level: list[tuple[Any, Any]] = [((value,), root)]
        for _ in range(self.limits.depth + 1):
            below: list[tuple[Any, Any]] = []
            for source, copy in level:
                nodes_left -= len(source)
                if nodes_left < -1:
                    return None
                if type(copy) is dict:
                    separators += len(source)
                    for key, item in source.items():
                        if type(key) is not str or (key not in plain_keys and not self._is_plain(key)):
                            return None
                        kind = type(item)
                        if kind is str:
                            if len(item) > fast_chars:
                                return None
                        elif kind is dict or kind is list or kind is tuple:
                            child: Any = {} if kind is dict else []
                            below.append((item, child))
                            item = child
                        elif not (item is None or kind is bool or kind is int or (kind is float and item - item == 0)):
                            return None
                        copy[key] = item
                    if "value" in copy and ("name" in copy or "key" in copy):
                        return None  # {"name": "Cookie", "value": …}
                else:
                    texts = 0
                    for item in source:
                        kind = type(item)
                        if kind is str:
                            if len(item) > fast_chars:
                                return None
                            texts += 1
                        elif kind is dict or kind is list or kind is tuple:
                            child = {} if kind is dict else []
                            below.append((item, child))
                            item = child
                        elif not (item is None or kind is bool or kind is int or (kind is float and item - item == 0)):
                            return None
                        copy.append(item)
                    if texts > 1 and self.redactor is not None and not self._is_plain_list(source, copy, texts):
                        return None
            if not below:
                return copies, separators
            copies += [copy for _, copy in below]
            level = below
        return None

    def _is_plain(self, key: str) -> bool:
        if len(key) * 4 > self.limits.key_bytes:
            return False
        if self.redactor is None:
            return True
        return self.redactor.key_label(key) is None

    def _is_plain_list(self, source: Any, copy: list[Any], texts: int) -> bool:
        """Whether a list with several texts hides nothing between them: a header pair, or a secret in pieces."""
        assert self.redactor is not None
        if type(source) is tuple and len(copy) == 2 and not self._is_plain(copy[0]):
            return False
        return texts != len(copy) or self.redactor.joined(copy) is None


def _clean(copies: list[Any], redactor: Redacting) -> int:
    """Clean every string of a private tree in place: how many changed, or -1 when a key did (the walk renames keys)."""
    changed = 0
    for copy in copies:
        if type(copy) is dict:
            for key, item in copy.items():
                if key not in redactor.plain_keys and redactor.text(key) is not key:
                    return -1
                if type(item) is str:
                    cleaned = redactor.text(item)
                    if cleaned is not item:
                        copy[key] = cleaned  # the key is there already, so the iteration stands
                        changed += 1
        else:
            for index, item in enumerate(copy):
                if type(item) is str:
                    cleaned = redactor.text(item)
                    if cleaned is not item:
                        copy[index] = cleaned
                        changed += 1
    return changed
