"""Takes secrets out of text before anything is kept: by the key's name, by the value's shape, by a user's hook.

Promises: on by default; a marker (``[redacted: api key]``) tells neither the secret nor its length; every rule is
linear in the text; a failing hook withholds the text. Must never call user code other than the hook, and never raise
out of it (except KeyboardInterrupt and its like, which belong to the host).

Theory of operation. `suspects` looks at all texts of a value at once and says "may hold a secret" cheaply, with a bias
to yes; only then `text` looks at each string closely. The cheap look deletes the ordinary characters (0.9 us for 2 KB)
and asks about what is left, a twentieth of the size, where one question costs 40 ns; asking the 2 KB directly costs
about 1 us for each literal and 12 us for one alternation. Colons and equal signs are common in real prompts, so the
names before them are collected by one expression (over the text backwards, where each begins at its sign) and looked up
among those known to be harmless. Texts found clean are remembered, by value and within `_MAX_CLEAN_CHARS`, because a
conversation is sent again with every call; so are their lines, because a prompt is a template, a document or a growing
transcript in which only some lines are new. Nothing that the cheap look asks about goes beyond a line, so it asks about
new lines only, in any order. The close look runs each rule over a copy of the text that has one byte per
character, collects spans, and rebuilds the text once.

What is caught: `names` lists the keys; `_SHAPES`, `_url_spans`, `_pem_spans`, `_scheme_spans` the shapes;
`assignments` finds ``name = value`` in text: nested JSON at any depth of escaping, query strings, headers, settings.
What is not: passwords in prose ("my password is rose"), ``name: value`` with a value of letters alone and no quotes,
encodings of a secret (base64 of it, hex, spelled backwards), ids of sessions, personal data, a short bearer token of
lower-case letters alone, and a text password split between the pieces of a list (the shapes are found there too).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import islice

from .assignments import CLASSES, WORD, Assignments, Span
from .names import label_of

Path = tuple["str | int", ...]
Hook = Callable[[Path, str], "str | None"]

REDACTED = "[redacted]"
FAILED = "[redaction failed]"
DENSE = "[redacted: too dense to check]"

_RUN = b"a" * 16  # every shape below holds a run of at least 16 word characters
# What prose is made of and no question of `suspects` is about; k and x stay, so that "sk-" leaves "k-", "xoxb-" "xx-".
_ORDINARY = b"abcdefghijlmnopqrstuvwyz ,.()!?{}[]\t\r\n\"';"
_TOKEN_SIGNS = b"0123456789_~+/"
_SUSPECT_RUN = b"a" * 15  # one less than `_RUN`: short Slack tokens are found wherever there is a longer run
_MANY = 64  # from so many long words on, the close look is cheaper
_EQUALS_AS_COLON = bytes(58 if byte == 61 else byte for byte in range(256))
# From so many signs on, the words themselves are asked for, whether a sign follows or not (6 ns a character): every
# name that `label_of` knows holds one of them, once digits, "_" and "-" are out. A text of 64 KB seldom has so many.
_MANY_SIGNS = 4096
_STEMS = re.compile(rb"pass|pw|secret|token|key|auth|cookie|cred|jwt|bearer|otp")
_BETWEEN = b"0123456789_-"
_LOWER = bytes(range(256)).lower()
_NAMES_BACKWARDS = re.compile(rb":[ \t\\\"']*([A-Za-z0-9_-]+)")

# Unmistakable prefixes need no boundary before them: a secret glued to other text is still one. Every alternative
# begins with a literal, which lets the engine skip by first characters (5 ns a character; with groups, 40 ns).
_PLAIN_SHAPES = (
    rb"A[KS]IA[A-Z0-9]{16,}"
    rb"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}"
    rb"|glpat-[A-Za-z0-9_-]{16,}"
    rb"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    rb"|AIza[A-Za-z0-9_-]{30,}"
    rb"|sk_(?:live|test)_[A-Za-z0-9]{10,}|rk_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"
    rb"|hf_(?<![A-Za-z0-9_-]hf_)[A-Za-z0-9]{20,}|npm_(?<![A-Za-z0-9_-]npm_)[A-Za-z0-9]{20,}"
    rb"|eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{13,}(?:\.[A-Za-z0-9_-]*){0,4}"
    rb"|eyJ[A-Za-z0-9_-]{13,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){0,3}"
)
_OTHERS = re.compile(_PLAIN_SHAPES)
_SHAPES = re.compile(_PLAIN_SHAPES + rb"|sk-[A-Za-z0-9_-]{13,}")
_OTHERS_SIGNS = re.compile(rb"[A-Z_]|xox|xapp|glpat")  # each of the other shapes has one of these
_KINDS = {b"A": "aws key", b"gh": "github token", b"gi": "github token", b"gl": "gitlab token", b"x": "slack token",
          b"AI": "google key", b"sk": "api key", b"rk": "api key", b"eyJ": "jwt"}  # fmt: skip
_SEGMENT = re.compile(rb"[A-Za-z0-9]{16,}")
_NOT_LOWER = re.compile(rb"[A-Z0-9]")
_LOWER_AND_SIGNS = b"abcdefghijklmnopqrstuvwxyz_-"
_LETTERS = bytes(97 if byte in _LOWER_AND_SIGNS[:26] else 32 for byte in range(256))
_NOT_HEX = re.compile(rb"[G-Zg-z]")

# Every quantified part excludes what ends it, so that each attempt stops where the next may begin.
_URL_PASSWORD = re.compile(rb"://(?:[^\s/:@\"'<>\\]*:([^\s/\"'<>\\]+)@|([^\s/:@\"'<>\\]{16,})@)")
_SCHEME = re.compile(rb"(?:[Bb]earer|BEARER|[Bb]asic|BASIC)[ \t]{1,8}([A-Za-z0-9._~+/=-]{6,})")
_TELLING = re.compile(rb"[0-9_~+/=.-]|[a-z][A-Z]")

_hook_running: ContextVar[bool] = ContextVar("spanloom_redact_hook_running", default=False)


def marker(label: str) -> str:
    """What stands where a secret stood."""
    return f"[redacted: {label}]"


class Redactor:
    """The rules, the user's hook, and the verdicts on key names.

    ``failures`` counts texts that were withheld because the hook failed on them.
    """

    __slots__ = (
        "_clean_chars",
        "_clean_lines",
        "_harmless",
        "_labels",
        "_line_chars",
        "clean",
        "failures",
        "hook",
        "plain_keys",
    )

    _MAX_VERDICTS = 4096  # names repeat; a program that invents keys may not fill memory with them
    _MAX_CLEAN_CHARS = 1 << 20  # of whole texts, and as many of lines
    _MAX_REMEMBERED = 1 << 14  # characters of one value's texts
    _MAX_REMEMBERED_LINES = 1 << 16  # characters of one value's new lines

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook
        self.failures = 0
        self.plain_keys: set[str] = set()
        """Names known to promise no secret and to hold none: all that the fast path asks about a key (30 ns)."""
        self.clean: set[str] = set()
        """Texts known to hold no secret and no NUL: all that the fast path asks about a text that it has seen."""
        self._clean_chars = 0
        self._clean_lines: set[str] = set()
        self._line_chars = 0
        self._labels: dict[str, str | None] = {}
        self._harmless: set[bytes] = set()

    def key_label(self, name: str) -> str | None:
        """What a value under this name is (``"password"``), or None when the name says nothing."""
        try:
            return self._labels[name]
        except KeyError:
            label = label_of(name)
        if len(name) <= 128:
            if len(self._labels) >= self._MAX_VERDICTS:
                self._labels.clear()
                self.plain_keys.clear()
            self._labels[name] = label
            if label is None and "\0" not in name and self.text(name) is name:
                self.plain_keys.add(name)
        return label

    def suspects(self, texts: list[str], joined: str) -> bool:
        """Whether one of these texts may hold a secret; when none does, they are remembered as clean. ``joined`` are
        the same texts, with line feeds between them.

        Never says no to what `text` would change, but for two: credentials behind ``Bearer`` and a ``glpat-`` token, in
        texts of more than 512 characters in all that have no digit, nor a colon, nor any of ``_~+/=``.
        """
        if len(joined) >= 6:
            lines = joined.split("\n")
            if len(lines) > 1:
                new = set(lines) - self._clean_lines
                unseen = "\n".join(new)
                if self._may_hold_secret(unseen.encode("ascii", "replace")):
                    return True
                self._remember_lines(new, unseen)
            elif self._may_hold_secret(joined.encode("ascii", "replace")):
                return True
        self._remember(texts, joined)
        return False

    def _remember_lines(self, lines: set[str], joined: str) -> None:
        if len(joined) > self._MAX_REMEMBERED_LINES or (len(joined) > 512 and ":" not in joined and "=" not in joined):
            return  # in such prose not every question is asked (see `suspects`)
        self._line_chars += len(joined) + 64 * len(lines)
        if self._line_chars > self._MAX_CLEAN_CHARS:
            self._clean_lines.clear()
            self._line_chars = 0
        self._clean_lines |= lines

    def _remember(self, texts: list[str], joined: str) -> None:
        if len(joined) > self._MAX_REMEMBERED or "\0" in joined:
            return
        self._clean_chars += len(joined) + 64 * len(texts)
        if self._clean_chars > self._MAX_CLEAN_CHARS:
            self.clean.clear()
            self._clean_chars = 0
        self.clean.update(texts)

    def _may_hold_secret(self, raw: bytes) -> bool:
        rest = raw.translate(None, _ORDINARY)
        signs = b":" in rest or b"=" in rest
        if signs and len(rest) > _MANY_SIGNS and rest.count(b":") + rest.count(b"=") > _MANY_SIGNS:
            if _STEMS.search(raw.translate(_LOWER, _BETWEEN)) is not None:
                return True
        elif signs and not self._harmless.issuperset(names := _names(raw)) and self._tells(names):
            return True
        if b"@" in rest and b":" in rest and _URL_PASSWORD.search(raw):
            return True
        if b"-----" in rest and b"-----" in raw:
            return True
        if _may_hold_shape(raw, rest):
            return True
        return (signs or len(raw) <= 512 or _has_token_signs(rest)) and _may_hold_scheme(raw, rest)

    def _tells(self, names: list[bytes]) -> bool:
        """Whether one of these names, backwards, promises a secret; the others become harmless."""
        for name in names:
            if name not in self._harmless and not name.isdigit():  # hours, ports, line numbers: no end of them
                # `Assignments` sees 96 characters at most before the sign, and so perhaps the end of a name only.
                if len(name) > 64 or label_of(name[::-1].decode("ascii")) is not None:
                    return True
                if len(self._harmless) >= self._MAX_VERDICTS:
                    self._harmless.clear()
                self._harmless.add(name)
        return False

    def text(self, text: str) -> str:
        """The text with every secret that the rules find replaced; the same object when there is none."""
        if len(text) < 6 or (len(text) <= self._MAX_REMEMBERED and text in self.clean):
            return text
        if not self.suspects([text], text):
            return text  # half the price, and where signs are many a fifth
        raw = text.encode("ascii", "replace")  # one byte per character, so positions are the text's own
        rest = raw.translate(None, _ORDINARY)
        spans: list[Span] = []
        if b"@" in rest and b"://" in raw:
            spans += _url_spans(raw)
        if b"-----" in rest:
            spans += _pem_spans(raw)
        if _may_hold_shape(raw, rest):
            first_run = raw.translate(CLASSES).find(_RUN)
            if first_run >= 0:
                spans += islice(_shape_spans(raw, first_run), len(raw) // 64 + 65)  # with one more, it is too dense
        signs = rest.count(b":") + rest.count(b"=")
        if (len(raw) <= 512 or signs or _has_token_signs(rest)) and _may_hold_scheme(raw, rest):
            spans += _scheme_spans(raw)
        if signs:
            spans += Assignments(raw, signs, self.key_label).spans()
        if not spans:
            self._remember([text], text)
            return text
        if len(spans) > len(raw) // 64 + 64:
            return DENSE
        return _rebuilt(text, spans)

    def joined(self, parts: list[str]) -> str | None:
        """Pieces of one text (a stream's chunks) joined and cleaned, when a secret is split between them; else None.

        Only the shapes are looked for: names of keys meet words by chance where pieces are joined.
        """
        whole = "".join(parts)
        raw = whole.encode("ascii", "replace")
        first_run = raw.translate(CLASSES).find(_RUN)
        if first_run < 0:
            return None
        spans = list(_shape_spans(raw, first_run))
        return _rebuilt(whole, spans) if spans else None

    def ask_hook(self, path: Path, text: str) -> str:
        """What the user's hook makes of the text. Fails closed: an exception, None or no text withholds it.

        While the hook runs, whatever it records itself is withheld too, so that it cannot call itself for ever.
        """
        hook = self.hook
        if hook is None:
            return text
        if _hook_running.get():
            return REDACTED
        _hook_running.set(True)
        try:
            answer = hook(path, text)
            if answer is None:
                return REDACTED
            if isinstance(answer, str):
                return str.__getitem__(answer, slice(None)) if type(answer) is not str else answer
        except Exception:  # the named door for the user's hook: the text is withheld and counted
            pass
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)) or _is_cancellation(error):
                raise
        finally:
            _hook_running.set(False)
        self.failures += 1
        return FAILED


def _is_cancellation(error: BaseException) -> bool:
    return any(base.__name__ == "CancelledError" for base in type.__dict__["__mro__"].__get__(type(error)))


def _names(raw: bytes) -> list[bytes]:
    """The names that stand before a colon or an equal sign, backwards (0.3 us each)."""
    if b"=" in raw:
        raw = raw.translate(_EQUALS_AS_COLON)
    return _NAMES_BACKWARDS.findall(raw[::-1])


def _may_hold_shape(raw: bytes, rest: bytes) -> bool:
    """Whether a token may stand in ``raw``; ``rest`` is ``raw`` without its ordinary characters."""
    if not (
        b"_" in rest
        or (b"k-" in rest and b"sk-" in raw)
        or (b"x-" in rest and (b"xox" in raw or b"xapp-" in raw))
        or b"KIA" in rest
        or b"SIA" in rest
        or (b"AI" in rest and b"AIza" in raw)
        or (b"J" in rest and b"eyJ" in raw)
        or (b"-" in rest and _has_token_signs(rest) and b"glpat-" in raw)
    ):
        return False
    words = raw.translate(CLASSES)
    at = words.find(_SUSPECT_RUN)
    if at < 0:
        return False
    runs: list[bytes] = []
    while at >= 0:
        if len(runs) == _MANY:
            return True
        end = words.find(b" ", at)
        end = len(raw) if end < 0 else end
        runs.append(raw[at:end])
        at = words.find(_SUSPECT_RUN, end)
    long_words = b" ".join(runs)
    if b"eyJ" in long_words or _SHAPES.search(long_words) is not None:
        return True
    return b"_" in rest and b"whsec_" in raw  # its token may hold signs


def _may_hold_scheme(raw: bytes, rest: bytes) -> bool:
    """Whether ``Bearer …`` or ``Basic …`` may stand in ``raw``."""
    return b"earer" in raw or b"asic" in raw or b"EARER" in rest or b"ASIC" in rest


def _has_token_signs(rest: bytes) -> bool:
    return len(rest.translate(None, _TOKEN_SIGNS)) != len(rest)


def _rebuilt(text: str, spans: list[Span]) -> str:
    spans.sort()
    parts: list[str] = []
    done = 0
    for start, end, label in spans:
        if start >= done:
            parts.append(text[done:start])
            parts.append(marker(label))
        done = max(done, end)
    parts.append(text[done:])
    return "".join(parts)


def _shape_spans(raw: bytes, first_run: int) -> Iterator[Span]:
    """Tokens that their own form gives away."""
    # A shape begins at most a few characters before its first run of 16 (never, today; the margin costs nothing).
    for match in _SHAPES.finditer(raw, max(0, first_run - 4)):
        if not match.group().startswith(b"sk-") or _is_api_key(raw, match):
            yield match.start(), match.end(), _shape_label(match.group())
        else:
            if _OTHERS_SIGNS.search(match.group()) is None:
                continue
            for inner in _OTHERS.finditer(raw, match.start(), match.end()):
                yield inner.start(), inner.end(), _shape_label(inner.group())


def _shape_label(secret: bytes) -> str:
    return _KINDS.get(secret[:3]) or _KINDS.get(secret[:2]) or _KINDS.get(secret[:1]) or "token"


def _is_api_key(raw: bytes, match: re.Match[bytes]) -> bool:
    """``sk-…`` also ends words (task-, disk-, risk-): glued to a word it needs a long segment that is no hex id."""
    start = match.start()
    glued = start > 0 and raw[start - 1] in WORD
    tail = raw[start + 3 : match.end()]
    lower = not tail.translate(None, _LOWER_AND_SIGNS)
    if glued:
        return not lower and any(_NOT_LOWER.search(part) and _NOT_HEX.search(part) for part in _SEGMENT.findall(tail))
    return not lower or _RUN in tail.translate(_LETTERS)


def _url_spans(raw: bytes) -> Iterator[Span]:
    """The password, or a long user part that stands alone, of ``scheme://user:password@host``."""
    for match in _URL_PASSWORD.finditer(raw):
        group = 1 if match.group(1) is not None else 2
        yield match.start(group), match.end(group), "url password"


def _pem_spans(raw: bytes) -> Iterator[Span]:
    """Whole PEM blocks; one without its end goes on to the end of the text, one without its beginning starts there."""
    position = 0
    while True:
        begin = raw.find(b"-----BEGIN", position)
        end = raw.find(b"-----END", position)
        if begin < 0 and (end < 0 or position > 0):
            return
        start = 0 if begin < 0 or (position == 0 and 0 <= end < begin) else begin
        end = raw.find(b"-----END", start)
        if end < 0:
            yield start, len(raw), "pem"
            return
        close = raw.find(b"-----", end + 8)
        position = len(raw) if close < 0 or close > end + 80 else close + 5
        yield start, position, "pem"


def _scheme_spans(raw: bytes) -> Iterator[Span]:
    """``Bearer …`` and ``Basic …``, told from prose ("bearer tokens", "basic understanding")."""
    for match in _SCHEME.finditer(raw):
        credential = match.group(1)
        if raw[match.start()] in b"Bb" and raw[match.start() + 1] in b"eE":
            if len(credential.rstrip(b".")) < 20 and not _TELLING.search(credential.rstrip(b".-")):
                continue
        elif not _is_basic(credential):
            continue
        yield match.start(1), match.end(1), "authorization"


def _is_basic(credential: bytes) -> bool:
    """Whether this decodes to ``user:password``; a truncated one counts by what is left of it."""
    body = credential.rstrip(b"=.-")[:400]
    try:
        return b":" in binascii.a2b_base64(body[: len(body) // 4 * 4])
    except binascii.Error:
        return False
