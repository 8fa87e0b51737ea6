"""Any Python value as bounded, redacted, strict JSON bytes, at once, on the caller's thread.

Promises: `Encoder.snapshot` is total (every value gives JSON), bounded (`Limits`), and never raises, except for a
KeyboardInterrupt or its like that belongs to the host. Must never call user code other than the redact hook, block, or
keep a reference to a user's object. Only plain texts outlive a call: the redactor remembers some that it found clean.

Theory of operation. Most values are small trees of exact builtin types. `_fast` copies such a tree level by level
(the copy is private, so no other thread can change what is checked), asks the redactor one question about those of its
texts that are new to it, and encodes it with orjson. If the answer is "maybe", the copy's strings are cleaned first.
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

    __slots__ = ("_clean", "_fast_chars", "_plain_keys", "failures", "limits", "redactor")

    def __init__(self, limits: Limits | None = None, redactor: Redacting | None = None) -> None:
        self.limits = limits if limits is not None else Limits()
        self.redactor = redactor
        self.failures = 0
        # A character takes at most 4 bytes of UTF-8, so below this no string can exceed its limit.
        self._fast_chars = min(self.limits.string_bytes // 4, self.limits.value_bytes // 4)
        self._clean: set[str] = redactor.clean if redactor is not None else set()
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
        texts: list[str] = []
        kind = type(value)
        if kind is str:
            if len(value) > self._fast_chars:
                return None
            copies: list[Any] = [[value]]
            root = value
            if value not in self._clean:
                texts.append(value)
        elif kind is dict or kind is list or kind is tuple:
            try:
                copied = self._copied(value, texts)
            except RuntimeError:  # changed by another thread while being copied; the walk tries again
                return None
            if copied is None:
                return None
            copies = copied
            root = copied[0]
        elif value is None or kind is bool or kind is int or (kind is float and value - value == 0):
            root = value
        else:
            return None
        if texts:
            joined = "\n".join(texts)
            if "\0" in joined:
                return None
            redactor = self.redactor
            if redactor is not None and redactor.suspects(texts, joined):
                _clean(copies, redactor)
                root = copies[0] if kind is not str else copies[0][0]
        try:
            encoded = _dumps(root, None, _OPTIONS)
        except orjson.JSONEncodeError:  # a lone surrogate, an integer beyond 2^53
            return None
        return None if len(encoded) > self.limits.value_bytes else encoded

    def _copied(self, root: Any, texts: list[str]) -> list[Any] | None:
        """A private copy of a tree of exact builtin types: its containers, breadth first. Texts that the redactor has
        yet to see are added to ``texts``. None when something in it needs the walk.

        One loop, written out, since each call would cost 50 ns. A container is copied whole, in C, before it is looked
        at; its children are replaced by copies of theirs, which the loop comes to later.
        """
        plain_keys, clean, fast_chars = self._plain_keys, self._clean, self._fast_chars
        nodes_left = self.limits.nodes - len(root)
        depth, level_end = self.limits.depth, 1
        if nodes_left < 0 or depth < 1:
            return None
        copies: list[Any] = [list(root) if type(root) is tuple else root.copy()]
        pairs = () if type(root) is not tuple else (copies[0],)  # tuples, which may be header pairs
        for number, copy in enumerate(copies):
            if number == level_end:
                depth, level_end = depth - 1, len(copies)
                if depth < 1:
                    return None
            is_dict = type(copy) is dict
            seen = 0
            for key, item in copy.items() if is_dict else enumerate(copy):
                if is_dict and (type(key) is not str or (key not in plain_keys and not self._is_plain(key))):
                    return None
                kind = type(item)
                if kind is str:
                    seen += 1
                    if len(item) > fast_chars:
                        return None
                    if item not in clean:
                        texts.append(item)
                elif kind is dict or kind is list or kind is tuple:
                    nodes_left -= len(item)
                    if nodes_left < 0:
                        return None
                    if kind is tuple:
                        child: Any = list(item)
                        pairs = (*pairs, child)
                    else:
                        child = item.copy()
                    copy[key] = child
                    copies.append(child)
                elif not (item is None or kind is bool or kind is int or (kind is float and item - item == 0)):
                    return None
            if is_dict:
                if "value" in copy and ("name" in copy or "key" in copy):
                    return None  # {"name": "Cookie", "value": …}
            elif seen > 1 and not self._is_plain_list(copy, seen, any(copy is pair for pair in pairs)):
                return None
        return copies

    def _is_plain(self, key: str) -> bool:
        if len(key) * 4 > self.limits.key_bytes or "\0" in key:
            return False
        if self.redactor is None:
            return True
        if self.redactor.key_label(key) is not None:
            return False
        return key in self._plain_keys or self.redactor.text(key) is key

    def _is_plain_list(self, copy: list[Any], texts: int, is_tuple: bool) -> bool:
        """Whether a list with several texts hides nothing between them: a header pair, or a secret in pieces."""
        if self.redactor is None:
            return True
        if is_tuple and len(copy) == 2 and not self._is_plain(copy[0]):
            return False
        return texts != len(copy) or self.redactor.joined(copy) is None


def _clean(copies: list[Any], redactor: Redacting) -> None:
    """Clean every string of a private tree in place."""
    for copy in copies:
        for place, item in copy.items() if type(copy) is dict else enumerate(copy):
            if type(item) is str:
                copy[place] = redactor.text(item)  # the place is there already, so the iteration stands
