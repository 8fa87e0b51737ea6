"""Recorded values as words: short, true, and never obeyed by a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from spanloom.cli import words


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("microseconds", "said"),
    [(None, ""), (0, "0 us"), (999, "999 us"), (1000, "1.0 ms"), (85_400, "85 ms"), (999_400, "999 ms"),
     (999_600, "1.0 s"),
     (3_000_000, "3.0 s"), (59_900_000, "59.9 s"), (59_990_000, "1 min 0 s"), (125_000_000, "2 min 5 s"),
     (3_780_000_000, "1 h 3 min")],
)  # fmt: skip
def test_durations(microseconds: int | None, said: str) -> None:
    """In the unit that fits, never a nonsense such as 1000 ms or 60.0 s."""
    assert words.duration(microseconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("two\nlines\tand a tab", "two lines and a tab"),
        ({"city": "Boston", "days": 3}, 'city="Boston", days=3'),
        ([{"role": "user", "content": "hi"}], "hi"),
        ([{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}], "(1 before) hi"),
        ({"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}, 'a {"type": "image"}'),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]}, "→ f(x=1)"),
        ({"role": "assistant", "content": "ok", "tool_calls": [{"function": {"name": "f"}}]}, "→ f(null) ok"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{broken"}}]}, "→ f({broken)"),
        ({"role": "assistant", "tool_calls": ["odd", None]}, '{"role": "assistant", "tool_calls": ["odd", null]}'),
        ({"role": 1}, '{"role": 1}'),
        ([], "[]"), ({}, "{}"), (None, "null"), (True, "true"), (1.5, "1.5"), ([1, "a"], '[1, "a"]'),
    ],
)  # fmt: skip
def test_a_glance_says_it_like_a_person(value: object, said: str) -> None:
    """Text as text, the last message of a prompt, calls as calls, arguments by name."""
    assert words.glance(raw(value)) == said


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text() | st.sampled_from(["role", "content", "text", "tool_calls", "function", "name", "arguments"]), inner,
        max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(_json)
def test_any_value_can_be_shown(value: object) -> None:
    """A glance is one line without controls; in full there are lines, and still no controls."""
    for text in (words.glance(raw(value)), words.message(raw(value), full=False)[1]):
        assert "\n" not in text and harmless(text)
    for text in (words.pretty(raw(value)), words.message(raw(value), full=True)[1]):
        assert harmless(text.replace("\n", "").replace("\t", ""))


def harmless(text: str) -> bool:
    return not any(
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(char) in BIDI
        for char in text
    )


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize("char", ["\x1b", "\x07", "\x9b", "\r", "\x00", "\u202e", "\u2066", "\u200b", "\ufeff",
                                  "\u2028",
                                  "\ud800", "\U000e0041", "\x7f", "\xad"])  # fmt: skip
def test_what_a_terminal_would_obey_is_shown_as_an_escape(char: str) -> None:
    """Escape sequences, bells, overrides, invisible characters and half surrogates."""
    shown = words.printable(f"a{char}b")
    assert char not in shown and shown.startswith("a\\") and shown.endswith("b")


def test_bytes_that_are_no_json_are_shown_all_the_same() -> None:
    """A store can hold what a later version wrote."""
    assert words.glance(Raw(b"\xff\xfe{")) == "\ufffd\ufffd{"
    assert words.glance(Raw(b"[" * 100_000)).startswith("[[[")


@pytest.mark.parametrize(
    ("given_feedback", "said"),
    [({}, ""), ({"thumb": "up"}, "thumb up"), ({"comment": "a\nb", "thumb": "down"}, 'thumb down, "a b"'),
     ({"score": 0.5, "label": "x", "odd\x1b": [1]}, "label x, odd\\x1b [1], score 0.5")],
)  # fmt: skip
def test_feedback_on_one_line(given_feedback: dict[str, object], said: str) -> None:
    """The thumb first, the comment in quotes, anything else by its name."""
    assert words.feedback(given_feedback) == said


def test_costs_and_counts() -> None:
    """Cheap calls keep their digits."""
    said = [words.cost(value) for value in (None, 0.0, 0.000123, 0.25, 12.3)]
    assert said == ["", "$0.00", "$0.000123", "$0.25", "$12.30"]
    assert words.count(1234567) == "1,234,567" and words.count(None) == ""


def test_moments_that_no_clock_can_name() -> None:
    """A client's clock far outside of this machine's range is a question mark, not an error."""
    assert words.when(1 << 80, 0.0) == "?" and words.when(None, 0.0) == ""
