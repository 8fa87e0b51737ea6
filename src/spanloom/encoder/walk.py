"""The careful way through a value: any object, any size, bounded, and with a path for the user's hook.

Promises: an explicit stack, so it works near the host's recursion limit; builds a private tree of exact JSON types that
orjson takes as it is; reads a user's collections through the builtin classes' own methods. Must never keep a reference
to a user's object beyond the call.

Theory of operation. Each task fills one place in the tree. Opening a container makes its places at once, in order, and
pushes their tasks, so that order in the tree never depends on the order of work. What stands above a value is a chain
of (object, chain above), walked to see a cycle. Cuts in containers are noted and their digests made at the end,
innermost first, because a digest is of what was really kept.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import orjson

from .kinds import kind_of, size_of, summary
from .limits import Limits, Path, Redacting, json_safe, truncation

CYCLE = "<cycle>"
CHANGED = "<changed while being read>"
CUT_KEY = "[truncated]"
SAFE_INT = 2**53 - 1

# A secret that begins before the cut must be seen whole enough to be known: its first 16 characters do.
_MARGIN_CHARS = 4096

Chain = tuple[Any, "Chain | None"]
Task = tuple[Any, Any, Any, "Chain | None", int, Path]


class Walk:
    """One walk over one value; made anew for each."""

    __slots__ = ("_bytes_left", "_cuts", "_hooked", "_limits", "_nodes_left", "_redactor", "_tasks")

    def __init__(self, limits: Limits, redactor: Redacting | None, *, ask_hook: bool = True) -> None:
        self._limits = limits
        self._redactor = redactor
        self._hooked = ask_hook and redactor is not None and redactor.hook is not None
        self._nodes_left = limits.nodes
        self._bytes_left = limits.value_bytes
        self._tasks: list[Task] = []
        self._cuts: list[tuple[Any, Any, int, int]] = []

    def run(self, value: object, path: Path) -> Any:
        """The value as a tree of dict, list, str, int, float, bool and None."""
        root: list[Any] = [None]
        self._tasks.append((root, 0, value, None, 0, path))
        while self._tasks:
            container, slot, item, chain, depth, where = self._tasks.pop()
            container[slot] = self._node(item, chain, depth, where)
        for container, slot, size, kept in reversed(self._cuts):
            del container[slot]
            container_bytes = orjson.dumps(container)
            marker = truncation(size, "items", kept, "items", container_bytes)
            if type(container) is list:
                container.append(marker)
            else:
                container[slot] = marker
        return root[0]

    def _node(self, value: Any, chain: Chain | None, depth: int, path: Path) -> Any:
        """What stands in the tree for one value; containers come back empty-handed, their items as tasks."""
        for _ in range(4):  # a member of an enum may hold a member of another
            cls = type(value)
            if cls is str:
                return self.text(value, path)
            if value is None or cls is bool:
                return value
            if cls is int:
                return self._int(value, path)
            if cls is float:
                return value if value - value == 0 else repr(value)
            if cls is dict:
                return self._open(value, "dict", value, chain, depth, path)
            kind, content = self._kind(value)
            if kind == "again":
                value = content
                continue
            return self._of_kind(value, kind, content, chain, depth, path)
        return summary(value)

    def _of_kind(self, value: Any, kind: str, content: Any, chain: Chain | None, depth: int, path: Path) -> Any:
        if kind == "number":
            if type(content) is int:
                return self._int(content, path)
            return content if content - content == 0 else repr(content)
        if kind in ("str", "text"):
            return self.text(content, path)
        if kind == "bytes":
            return self._bytes(content, path)
        if kind == "summary":
            return str(content)
        return self._open(value, kind, content, chain, depth, path)

    def _kind(self, value: Any) -> tuple[str, Any]:
        """`kind_of`, tried three times against another thread that changes the value meanwhile."""
        for _ in range(3):
            try:
                return kind_of(value, max(self._nodes_left, 0) + 1)
            except RuntimeError as error:
                if isinstance(error, RecursionError):
                    raise
        return "summary", CHANGED

    def _items(self, source: dict[Any, Any], limit: int) -> list[tuple[Any, Any]] | None:
        for _ in range(3):
            try:
                return list(islice(dict.items(source), limit))
            except RuntimeError as error:
                if isinstance(error, RecursionError):
                    raise
        return None

    def _open(self, value: Any, kind: str, content: Any, chain: Chain | None, depth: int, path: Path) -> Any:
        above = chain
        while above is not None:
            if above[0] is value:
                return CYCLE
            above = above[1]
        if depth >= self._limits.depth:
            return f"<depth limit {self._limits.depth}: {summary(value)[1:-1]} of {size_of(value)}>"
        limit = max(self._nodes_left, 0)
        if kind == "list":
            return self._open_list(value, content, limit, (value, chain), depth + 1, path)
        items = self._items(content, limit + 1)
        if items is None:
            return CHANGED
        return self._open_map(items, size_of(content), limit, (value, chain), depth + 1, path)

    def _open_list(self, value: Any, items: list[Any], limit: int, chain: Chain, depth: int, path: Path) -> Any:
        size = max(size_of(value), len(items)) if len(items) > limit else len(items)
        items = items[:limit]
        secret = None
        if self._redactor is not None and len(items) > 1:
            if all(type(item) is str for item in items) and sum(map(len, items)) <= self._limits.string_bytes:
                # Each piece by itself first: what is found inside one leaves the others as they are.
                joined = self._redactor.joined([self._redactor.text(item) for item in items])
                if joined is not None:
                    return [self.text(joined, path)]
            if type(value) is tuple and len(items) == 2 and type(items[0]) is str:
                secret = self._redactor.key_label(items[0])  # a header: (name, value)
        self._nodes_left -= len(items)
        opened: list[Any] = [None] * len(items)
        tasks: list[Task] = []
        for index, item in enumerate(items):
            if secret is not None and index == 1 and is_secret(secret, item):
                opened[1] = f"[redacted: {secret}]"
            else:
                tasks.append((opened, index, item, chain, depth, (*path, index) if self._hooked else path))
        self._tasks.extend(reversed(tasks))
        if size > len(items):
            opened.append(None)
            self._cuts.append((opened, len(items), size, len(items)))
        return opened

    def _open_map(
        self, items: list[tuple[Any, Any]], size: int, limit: int, chain: Chain, depth: int, path: Path
    ) -> dict[str, Any]:
        kept = items[:limit]
        self._nodes_left -= len(kept)
        opened: dict[str, Any] = {}
        tasks: list[Task] = []
        named = self._named_value(kept)
        for key, item in kept:
            name = key if type(key) is str else self._key_text(key)
            label = self._label(name, item, kept)
            if label is None and named is not None and name == "value" and is_secret(named, item):
                label = named
            slot = self._key(name, opened)
            opened[slot] = None if label is None else f"[redacted: {label}]"
            if label is None:
                tasks.append((opened, slot, item, chain, depth, (*path, slot) if self._hooked else path))
        self._tasks.extend(reversed(tasks))
        if len(items) > limit:
            slot = self._key(CUT_KEY, opened)
            opened[slot] = None
            self._cuts.append((opened, slot, max(size, len(items)), len(kept)))
        return opened

    def _named_value(self, items: list[tuple[Any, Any]]) -> str | None:
        """The label of a pair spelled out: {"name": "Cookie", "value": …}, as in HAR files and pod specifications."""
        if self._redactor is None or not any(type(key) is str and key == "value" for key, _ in items):
            return None
        for key, item in items:
            if type(key) is str and key in ("name", "key") and type(item) is str:
                label = self._redactor.key_label(item)
                if label is not None:
                    return label
        return None

    def _label(self, name: str, item: Any, items: list[tuple[Any, Any]]) -> str | None:
        if self._redactor is None:
            return None
        label = self._redactor.key_label(name)
        if label is None or not is_secret(label, item):
            return None
        # A model's log probabilities name each piece of the answer "token".
        if name == "token" and any(type(key) is str and key == "logprob" for key, _ in items):
            return None
        return label

    def _key(self, name: str, taken: dict[str, Any]) -> str:
        """The key as it is kept: safe, bounded, cleaned, and told apart from an equal one by `` (2)``."""
        limit = self._limits.key_bytes
        shown = name if len(name) <= limit + _MARGIN_CHARS else name[: limit + _MARGIN_CHARS]
        if self._redactor is not None:
            cleaned = self._redactor.text(shown)
            shown = cleaned if len(shown) == len(name) else cleaned[: max(len(cleaned) - _MARGIN_CHARS, 0)]
        shown = json_safe(shown)
        encoded = shown.encode()
        if len(encoded) > limit or len(name) > limit + _MARGIN_CHARS:
            head = encoded[:limit]
            shown = head.decode("utf-8", "ignore") + truncation(len(name), "chars", len(head), "bytes", head)
        self._bytes_left -= len(shown) + 4
        number, unique = 2, shown
        while unique in taken:
            unique = f"{shown} ({number})"
            number += 1
        return unique

    def _key_text(self, key: Any) -> str:
        """A key that is no text, as text: JSON's words for None and booleans, digits, and parts in parentheses."""
        if key is None or type(key) is bool:
            return {None: "null", True: "true", False: "false"}[key]
        if type(key) is int or type(key) is float:
            return str(self._int(key, ())) if type(key) is int else repr(key)
        if type(key) is tuple:
            simple = all(type(part) in (str, int, float, bool, type(None)) for part in key[:16])
            parts = [part if type(part) is str else self._key_text(part) for part in key[:16]]
            return f"({', '.join(parts)})" if simple and len(key) <= 16 else summary(key)
        kind, content = self._kind(key)
        if kind == "again" and type(content) in (str, int, float, bool):
            return content if type(content) is str else self._key_text(content)
        if kind == "str":
            return str.__getitem__(content, slice(self._limits.key_bytes + 2 * _MARGIN_CHARS))
        if kind == "number":
            return self._key_text(content)
        return str(content) if kind == "text" else summary(key)

    def _int(self, value: int, path: Path) -> Any:
        """Integers beyond 2^53 become text, for readers that have only doubles: decimal to 2048 bits, then hexadecimal
        (decimal digits cost quadratic time, and the interpreter limits them)."""
        if -SAFE_INT <= value <= SAFE_INT:
            return value
        bits = value.bit_length()
        if bits <= 2048:
            return str(value)
        return self.text(hex(value), path) if bits <= 4 * self._limits.string_bytes else f"<int: {bits} bits>"

    def _bytes(self, value: bytes | bytearray, path: Path) -> str:
        kind: Any = bytes if issubclass(type(value), bytes) else bytearray
        size = kind.__len__(value)
        limit = self._limits.string_bytes + _MARGIN_CHARS
        head = bytes(kind.__getitem__(value, slice(limit)))
        try:
            text = head.decode()
        except UnicodeDecodeError as error:
            if size <= limit or error.start < limit - 4:
                return f"<bytes: {size} bytes>"
            text = head[: error.start].decode()
        return self.text(text, path, size if size > limit else None)

    def text(self, value: str, path: Path, size_bytes: int | None = None) -> str:
        """A string as it is kept: hook, rules, safety, then the cut, in this order, so that no cut hides a secret.

        ``size_bytes`` is the original size when ``value`` is already the head of something longer.
        """
        limit = min(self._limits.string_bytes, max(self._bytes_left, 0))
        length = str.__len__(value)
        window = limit + _MARGIN_CHARS
        cut = length > window
        shown = str.__getitem__(value, slice(window)) if cut or type(value) is not str else value
        cut = cut or size_bytes is not None
        if self._redactor is not None:
            if self._hooked:
                shown = self._redactor.ask_hook(path, shown)[:window]
            shown = self._redactor.text(shown)
        if cut:
            shown = shown[: max(len(shown) - _MARGIN_CHARS, 0)]
        shown = json_safe(shown)
        encoded = shown.encode()
        if cut or len(encoded) > limit:
            shown = encoded[:limit].decode("utf-8", "ignore")
            kept = shown.encode()
            size, unit = (length, "chars") if size_bytes is None else (size_bytes, "bytes")
            shown += truncation(size, unit, len(kept), "bytes", kept)
        self._bytes_left -= len(orjson.dumps(shown))
        return shown


def is_secret(label: str, value: object) -> bool:
    """Whether a value under a telling name is hidden: not when it is absent, a flag, or a number of tokens."""
    if value is None or type(value) is bool:
        return False
    return not (label == "token" and type(value) in (int, float))
