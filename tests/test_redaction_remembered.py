"""What the redactor remembers of clean texts: it saves time, and never lets a secret through."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.encoder import Encoder
from spanloom.redaction import Redactor

SECRET = "sk-Q7rT2vX9zB4nM6kL8pW3"


def test_a_text_seen_clean_is_remembered_and_encodes_to_the_same_bytes() -> None:
    """The second snapshot of a conversation gives the bytes of the first, without looking at its texts again."""
    encoder = Encoder(redactor=(redactor := Redactor()))
    chat = [{"role": "user", "content": "Question: what is the weather in Paris?"}]
    first = encoder.snapshot(chat)
    assert chat[0]["content"] in redactor.clean
    assert encoder.snapshot(chat) == first == orjson.dumps(chat)


def test_a_secret_beside_remembered_texts_is_found() -> None:
    """C90: clean neighbours, remembered, hide no new text; and one with a secret is never remembered."""
    encoder = Encoder(redactor=(redactor := Redactor()))
    clean = "the quick brown fox"
    for _ in range(3):
        encoder.snapshot([{"content": clean}])
        encoded = encoder.snapshot([{"content": clean}, {"content": f"use {SECRET} here"}])
        assert SECRET.encode() not in encoded and clean.encode() in encoded
    assert clean in redactor.clean and not any(SECRET in text for text in redactor.clean)


@pytest.mark.parametrize(
    "text",
    [
        "a note\npassword: hunter22",
        "host=db1 password = 'correct horse'",
        r'{"body": "{\"api_key\": \"0123456789\"}"}',
        "x = 1; token=abc123def; y = 2",
        "postgres://user:hunter22@db/prod",
    ],
)
def test_a_telling_name_among_harmless_ones_is_seen(text: str) -> None:
    """Names before colons and equal signs that were harmless a hundred times do not hide the one that tells."""
    encoder = Encoder(redactor=Redactor())
    harmless = "question: a, answer: b, host=c, body: d, note = e, x = f, y = g. " * 4
    encoder.snapshot([harmless])
    encoded = encoder.snapshot([harmless + text])
    assert b"[redacted: " in encoded, encoded


def test_nul_is_made_safe_each_time() -> None:
    """A text with NUL is not remembered as one that needs no care, nor is such a key."""
    encoder = Encoder(redactor=(redactor := Redactor()))
    for _ in range(2):
        assert orjson.loads(encoder.snapshot({"a\0key": "some\0thing"})) == {"a\u2400key": "some\u2400thing"}
        assert orjson.loads(encoder.snapshot("some\0thing")) == "some\u2400thing"
    assert not any("\0" in text for text in redactor.clean | redactor.plain_keys)


def test_what_is_remembered_is_bounded() -> None:
    """A program whose texts never repeat does not fill memory with them; long texts are not kept at all."""
    encoder = Encoder(redactor=(redactor := Redactor()))
    for number in range(3000):
        encoder.snapshot(f"{number}: " + "the quick brown fox " * 50)
    assert 0 < sum(map(len, redactor.clean)) <= 1 << 20
    long = "the quick brown fox " * 819 + "and so on and on and on"
    encoder.snapshot(long)
    assert long not in redactor.clean


def test_only_exact_texts_are_remembered() -> None:
    """A str subclass with an equality of its own is never asked for it."""

    class Liar(str):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("asked")

        def __hash__(self) -> int:
            raise AssertionError("asked")

    encoder = Encoder(redactor=(redactor := Redactor()))
    encoder.snapshot("the quick brown fox")
    assert orjson.loads(encoder.snapshot([Liar("the quick brown fox"), Liar(f"use {SECRET} here")]))[0] == (
        "the quick brown fox"
    )
    assert all(type(text) is str for text in redactor.clean)


_FRAGMENTS = st.sampled_from(
    ["password", "api_key", "max_tokens", "author", "otp", ": ", "=", '": "', "' : '", "\n", "\r\n", " ", "hunter22",
     "x1", SECRET, "ghp_", "Bearer ", "abcdefghijklmnop0", "postgres://u:pw123@h", "-----BEGIN X-----", "\0", "12",
     "the quick brown fox", '"', "\\", "é"]
)  # fmt: skip


@given(st.lists(st.lists(_FRAGMENTS, max_size=12).map("".join), min_size=2, max_size=6))
def test_what_was_seen_before_never_changes_what_is_found(texts: list[str]) -> None:
    """C90: each text comes out as from a redactor that has seen nothing, whichever of its lines were met before."""
    seasoned = Redactor()
    for text in [*texts, "\n".join(texts), "\n".join(reversed(texts))]:
        assert seasoned.text(text) == Redactor().text(text)


def test_a_new_line_among_remembered_ones_is_examined() -> None:
    """A template whose other lines were clean a hundred times does not hide the one that was filled in."""
    encoder = Encoder(redactor=Redactor())
    template = "You are a helpful agent.\nQuestion: {}\nAnswer in JSON: yes or no.\n"
    for number in range(3):
        assert encoder.snapshot(template.format(number)) == orjson.dumps(template.format(number))
        assert SECRET.encode() not in encoder.snapshot(template.format(SECRET))
        split = encoder.snapshot(template.format('"password":\n"correct horse"'))
        assert b"correct horse" not in split
        key = f"-----BEGIN KEY-----\nAnswer in JSON: yes or no.\n{number}\n-----END KEY-----"
        assert b"Answer in JSON" not in encoder.snapshot(key)


def test_lines_remembered_are_bounded() -> None:
    """Lines that never repeat do not fill memory either."""
    redactor = Redactor()
    most = 0
    for number in range(3000):
        redactor.text("\n".join(f"note: {number}.{line} the quick brown fox jumps over the dog" for line in range(20)))
        most = max(most, sum(map(len, redactor._clean_lines)))
    assert 100_000 < most <= 1 << 20
