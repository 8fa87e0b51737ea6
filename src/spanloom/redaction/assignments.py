"""Finds ``name: value`` and ``name = value`` inside text, where the name tells that the value is a secret.

Promises: linear in the text. Must never take a word of a sentence, a type or an expression for a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Span = tuple[int, int, str]
"""Start, end and label of a secret."""

WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
# Word characters become "a", all else a space: then a run of word characters is a plain substring search.
CLASSES = bytes(97 if byte in WORD else 32 for byte in range(256))
# Strings are cut to 64 KB and a margin before they are examined, where density alone allows half as many; this bounds
# the time that anything longer takes (3 us each, 11 us for a secret).
_MOST_TRIED = 4096
_DIGITS = b"0123456789"
_TELLING = re.compile(rb"[0-9_~+/=.-]|[a-z][A-Z]")
_STEMS = re.compile(
    rb"(?:pass|pwd?|passwd|secret|token|key|auth|authorization|cookie|credential|phrase|word)s?[a-z0-9_-]{0,24}"
    rb"[\\\"' \t]{0,16}[:=]"
)
_QUOTE = re.compile(rb"\\*[\"']")
_BARE_VALUE = re.compile(rb"[^\s\"'&,;)}\]<>\\]+")
_LINE = re.compile(rb"[^\r\n\"\\]*")
_BRACKET = re.compile(rb"[\[\]{}]")
_HEADER_SCHEME = re.compile(rb"[ \t]*[A-Za-z][A-Za-z0-9-]{2,20}[ \t]+\S")
_CODE = re.compile(rb"[(\[{$%]")
_NO_SECRET = frozenset((b"true", b"false", b"null", b"none", b"nil", b"undefined", b"str", b"string"))


class Assignments:
    """Finds ``name: value`` and ``name = value`` in text where the name tells that the value is a secret.

    Quotes may be escaped to any depth (JSON within JSON): the value ends at the same quote with as many backslashes.
    A value without quotes must look like a literal. Each value is read once and the search goes on behind it, so the
    whole is linear; where colons are dense (more than one in 32 characters) a regular expression picks the candidates.
    """

    def __init__(self, raw: bytes, signs: int, key_label: Callable[[str], str | None]) -> None:
        self._raw = raw
        self._signs = signs  # how many colons and equal signs there are
        self._key_label = key_label

    def spans(self) -> list[Span]:
        found: list[Span] = []
        done = 0
        dense = len(self._raw) // 32 + 64
        limit = min(dense, _MOST_TRIED)
        for tried, at in enumerate(self._candidates(dense)):
            if tried > limit:
                return [(0, len(self._raw), "too dense to check")]
            if at < done:
                continue
            span = self._span(at)
            if span is not None:
                found.append(span)
                done = span[1]
                if len(found) > limit // 4:
                    return [(0, len(self._raw), "too dense to check")]
        return found

    def _candidates(self, dense: int) -> Iterator[int]:
        raw = self._raw
        if self._signs > dense:
            for match in _STEMS.finditer(raw.lower()):
                yield match.end() - 1
            return
        colon, equals = raw.find(b":"), raw.find(b"=")
        while colon >= 0 or equals >= 0:
            if equals < 0 or 0 <= colon < equals:
                yield colon
                colon = raw.find(b":", colon + 1)
            else:
                yield equals
                equals = raw.find(b"=", equals + 1)

    def _span(self, at: int) -> Span | None:
        raw = self._raw
        low = max(0, at - 96)
        name_end = low + len(raw[low:at].rstrip(b" \t\\\"'"))
        start = low + raw[low:name_end].translate(CLASSES).rfind(b" ") + 1
        if start >= name_end:
            return None
        label = self._key_label(raw[start:name_end].decode("ascii"))
        if label is None:
            return None
        quoted_name = b'"' in raw[name_end:at] or b"'" in raw[name_end:at]
        value = at + 2 if raw[at + 1 : at + 2] in (b"=", b">") else at + 1
        ahead = raw[value : value + 64]
        value += len(ahead) - len(ahead.lstrip(b" \t\r\n" if quoted_name else b" \t"))
        tight = raw[at : at + 1] == b"=" and value == at + 1 and name_end == at
        end = self._value_end(value, label, quoted_name, tight)
        if end is None or end[0] >= end[1]:
            return None
        return end[0], end[1], label

    def _value_end(self, at: int, label: str, quoted_name: bool, tight: bool) -> tuple[int, int] | None:
        raw = self._raw
        quote = _QUOTE.match(raw, at)
        if quote is not None:
            close = self._closing(quote.group(), quote.end())
            if close >= 0:
                return quote.end(), close
            if quote.group().endswith(b'"') or quoted_name:
                return quote.end(), len(raw)
        if quoted_name and raw[at : at + 1] in (b"{", b"["):
            return at, self._bracket_end(at)
        if not quoted_name and not tight and label in ("authorization", "cookie"):
            line = _LINE.match(raw, at)
            assert line is not None
            tells = b"=" in line.group() if label == "cookie" else _HEADER_SCHEME.match(line.group())
            if tells:
                return line.span()
        bare = _BARE_VALUE.match(raw, at)
        if bare is None or not _is_literal(bare.group(), label, quoted_name, tight):
            return None
        return bare.span()

    def _closing(self, quote: bytes, at: int) -> int:
        """Where the same quote comes again; with one more backslash before it, it is a quote inside the value."""
        found = re.compile(rb"(?<!\\)" + re.escape(quote)).search(self._raw, at)
        return -1 if found is None else found.start()

    def _bracket_end(self, at: int) -> int:
        depth = 0
        for match in _BRACKET.finditer(self._raw, at):
            depth += 1 if match.group() in b"[{" else -1
            if depth == 0:
                return match.end()
        return len(self._raw)


def _is_literal(value: bytes, label: str, quoted_name: bool, tight: bool) -> bool:
    """Whether a value without quotes is meant: a literal, not code, not a type, not the next word of a sentence."""
    low = value.lower()
    if low in _NO_SECRET or (label == "token" and value.isdigit()):
        return False
    if quoted_name:
        return True
    if _CODE.search(value):
        return False
    if tight:
        return len(value) >= 3
    return len(value) >= 6 and _TELLING.search(value) is not None and any(byte in _DIGITS for byte in value)
