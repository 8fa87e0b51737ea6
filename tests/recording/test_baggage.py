"""User, thread, customer and tags in a ``baggage`` header: there and back, and whatever else may stand there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanloom
from spanloom.recording.propagation import from_baggage
from spanloom.testing import capture

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


def received(headers: Any) -> Any:
    """The run of a callee that got these headers."""
    with capture(strict=True) as runs, spanloom.extract(headers), spanloom.tool("callee"):
        pass
    return runs.one("tool", "callee")


@given(user=WORDS, thread=WORDS, tags=st.lists(WORDS, max_size=8, unique=True))
def test_what_is_sent_arrives(user: str, thread: str, tags: list[str]) -> None:
    """Any text, with commas, percent signs and line ends in it; the header itself is printable ASCII."""
    headers: dict[str, str] = {}
    with capture(), spanloom.context(user=user, thread=thread, tags=tags):
        spanloom.inject(headers)
    assert headers["baggage"].isascii() and headers["baggage"].isprintable()
    callee = received(headers)
    assert (callee.user, callee.thread, sorted(callee.tags)) == (user, thread, sorted(tags))


@given(st.one_of(st.text(max_size=300), st.text(alphabet="spanloom.tgu=%,;2C0", max_size=300)))
def test_whatever_stands_there_is_bounded(text: str) -> None:
    """No header makes the receiver fail, or keep more than it should."""
    for baggage in (text, f"spanloom.tags={text}", f"spanloom.user={text}"):
        values = from_baggage(baggage)
        assert set(values) <= {"user", "thread", "customer", "tags"}
        assert len(values.get("tags", ())) <= 64
        callee = received({"baggage": baggage})
        assert callee.parent_id is None


def test_too_much_is_left_out_on_both_sides() -> None:
    """A thousand tags: as many as have room and no more than 64; a header beyond 8 KiB, in one or in parts, is none."""
    headers = {"baggage": "other=" + "x" * 4000}
    with capture(), spanloom.context(user="ada", tags=[f"tag {n} " + "ü" * 30 for n in range(1000)]):
        spanloom.inject(headers)
    assert len(headers["baggage"]) <= 8192
    callee = received(headers)
    assert callee.user == "ada" and 10 < len(callee.tags) <= 64
    assert set(callee.tags) == {f"tag {n} " + "ü" * 30 for n in range(len(callee.tags))}
    many = "spanloom.tags=" + quote(",".join(f"t{n}" for n in range(1000)), safe="")
    assert set(received({"baggage": many}).tags) == {f"t{n}" for n in range(64)}
    assert not received({"baggage": "spanloom.user=ada," + "x" * 8192}).user
    assert not received([("baggage", "spanloom.user=ada," + "x" * 5000)] * 2).user


@pytest.mark.parametrize("baggage", ["spanloom.user", "spanloom.user=", "=ada", ",,,;;;", "spanloom.tags=%ff%00%2C%2C"])
def test_members_that_say_nothing(baggage: str) -> None:
    """Half a member is none; bytes that are no text are replaced."""
    callee = received({"baggage": baggage})
    assert not callee.user and len(callee.tags) <= 1
