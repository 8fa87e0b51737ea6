"""What a user writes down as a destination: checked late, shown without its key."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.errors import SettingsError
from spanloom.shipping.destination import destination_id, kind_of
from spanloom.shipping.destinations import Collector, Lunary

KEY = "11111111-2222-4333-8444-555555555555"


@given(st.none() | st.integers() | st.text() | st.binary(), st.none() | st.integers() | st.text() | st.binary())
def test_making_one_never_raises_and_building_raises_only_settings_errors(key: Any, url: Any) -> None:
    """Any argument may be given; what is wrong comes out as SettingsError at build, without the key in it (C18)."""
    for destination in (Lunary(key, url=url), Collector(url, key)):
        repr(destination)
        assert isinstance(destination.problems, tuple)
        try:
            destination.build()
        except SettingsError as error:
            if isinstance(key, str) and len(key.strip()) > 8:
                assert key.strip() not in str(error) or key.strip() in str(url)


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        (Lunary(""), ("public_key", "empty", "leave this destination out")),
        (Lunary(None), ("public_key", "NoneType")),  # type: ignore[arg-type]
        (Lunary("a b"), ("public_key", "spaces")),
        (Lunary(KEY, url="ftp://x"), ("'ftp://x'", "http://")),
        (Lunary(KEY, url="https://x:99999"), ("99999", "Port out of range")),
        (Lunary(KEY, url="https://"), ("names a host",)),
        (Collector("https://me:pw@host"), ("host", "without user")),
        (Collector("https://host/?a=1"), ("without user, '?'",)),
        (Collector(8321), ("int", "http://127.0.0.1:8321")),  # type: ignore[arg-type]
        (Collector("http://example.com", key="k"), ("http://example.com", "unencrypted", "allow_insecure=True")),
        (Lunary(KEY, url="http://10.0.0.7:3333"), ("unencrypted",)),
    ],
)
def test_a_wrong_setting_is_named_with_its_cure(destination: Any, words: tuple[str, ...]) -> None:
    """The error says which argument, the value, and what to do; passwords in addresses are not repeated (C18, C96)."""
    with pytest.raises(SettingsError) as caught:
        destination.build()
    assert all(word in str(caught.value) for word in words)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "destination",
    [
        Lunary(KEY),
        Lunary(KEY, url="http://localhost:3333"),
        Lunary(KEY, url="http://127.0.0.1:3333/"),
        Lunary(KEY, url="http://[::1]:3333"),
        Lunary(KEY, url="http://10.0.0.7:3333", allow_insecure=True),
        Collector("http://example.com"),
        Collector("https://example.com/base", key="k"),
    ],
)
def test_a_right_setting_builds(destination: Any) -> None:
    """HTTPS, loopback, no key, or on the user's own word: built, without any connection."""
    built = destination.build()
    assert len(built.dest_id) == 16
    built.close()


def test_no_key_is_shown_or_pickled() -> None:
    """Neither repr shows the key, and a pickle is refused with a cure rather than carrying it (C30, C89)."""
    for destination in (Lunary("canary-key"), Collector("https://host", key="canary-key")):
        assert "canary-key" not in repr(destination) + str(destination) + repr(destination.build())
        with pytest.raises(TypeError, match="configure"):
            pickle.dumps(destination)
        with pytest.raises(TypeError, match="holds a key"):
            copy.copy(destination)


def test_a_key_that_does_not_look_like_one_is_said_and_used() -> None:
    """Lunary's keys are UUIDs; another is a sentence, not an error."""
    assert Lunary(KEY).problems == ()
    (problem,) = Lunary("0x0").problems
    assert "0x0" not in problem
    assert Lunary("0x0").build().name == "lunary"


def test_the_destination_id_is_stable_and_tells_projects_apart() -> None:
    """The same address and project give the same id in every process; a trailing slash, case or a new collector key
    change nothing; another project does."""
    assert destination_id("a", "https://API.lunary.ai/", "p") == destination_id("a", "https://api.lunary.ai", "p")
    assert Lunary(KEY).build().dest_id == Lunary(KEY).build().dest_id
    assert Lunary(KEY).build().dest_id != Lunary("0x0").build().dest_id
    assert Collector("https://h", key="a").build().dest_id == Collector("https://h/", key="b").build().dest_id
    assert KEY not in Lunary(KEY).build().dest_id


@pytest.mark.parametrize(
    ("payload", "kind"),
    [(b'{"event":"start","x":1}', b"start"), (b'{"event":"client_report",', b"client_report"), (b"", b""),
     (b'{"event":"', b""), (b'{"x":"start"}', b"")],
)  # fmt: skip
def test_the_kind_is_read_from_the_first_bytes(payload: bytes, kind: bytes) -> None:
    """A record's kind, or nothing for what is no record."""
    assert kind_of(payload) == kind


def test_lunary_takes_what_it_has_a_place_for_and_the_collector_everything() -> None:
    """Usage events and updates are not for Lunary; nothing is not for the collector."""
    lunary, collector = Lunary(KEY).build(), Collector("https://h").build()
    kinds = ("start", "end", "chat", "feedback", "update", "point", "action", "outcome", "client_report")
    payloads = [f'{{"event":"{kind}","eventId":"e"}}'.encode() for kind in kinds]
    assert [lunary.takes(each) for each in payloads] == [True] * 4 + [False] * 5
    assert all(collector.takes(each) for each in payloads)
