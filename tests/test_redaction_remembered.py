"""What the redactor remembers of clean texts: it saves time, and never lets a secret through."""

from __future__ import annotations

import orjson
import pytest

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
