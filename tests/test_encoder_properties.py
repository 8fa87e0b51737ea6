"""Properties of the encoder over random values, with secrets planted anywhere.

The number of examples is small by default. The full run of a million, in pieces that can run beside other work:

    SPANLOOM_HYPOTHESIS_EXAMPLES=1000000 python -m pytest tests/test_encoder_properties.py -k planted -p no:randomly

``SPANLOOM_HYPOTHESIS_SEED`` repeats a run; the seed is printed with a failure and by ``-s``.
"""

from __future__ import annotations

import json
import os
import random
from collections import deque
from typing import Any

import orjson
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from spanloom.encoder import Encoder
from spanloom.redaction import Redactor

EXAMPLES = int(os.environ.get("SPANLOOM_HYPOTHESIS_EXAMPLES", "300"))
SEED = int(os.environ.get("SPANLOOM_HYPOTHESIS_SEED", str(random.SystemRandom().randrange(2**32))))
print(f"seed: SPANLOOM_HYPOTHESIS_SEED={SEED}")
MANY = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))

CORES = ["Q7rT2vX9zB4nM6kL8pW3", "Zx1Cv2Bn3Mq4We5Rt6Yu"]
PLANTS = [
    "sk-{}", "AKIA1234567890ABCDEF/{}", "ghp_{}{}", "github_pat_{}", "xoxb-{}", "glpat-{}", "sk_live_{}",
    "eyJhbGciOiJIUzI1NiJ9.{}.{}", "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", "Bearer {}",
    "postgres://user:{}@host/db", "password={}", '{{"api_key": "{}"}}', '{{"a": "{{\\"secret\\": \\"{}\\"}}"}}',
]  # fmt: skip
# A word glued to the left of a secret changes what it is, so the text around it ends there.
EDGE = st.sampled_from(["", " ", "\n", "x: ", '"', "(", "é ", "\ud800", "\0", ", ", "1 ", "{", "'"])


@st.composite
def planted_text(draw: st.DrawFn) -> str:
    """A secret of some shape, in text."""
    core = draw(st.sampled_from(CORES))
    plant = draw(st.sampled_from([plant for plant in PLANTS if not plant.startswith("AKIA")]))
    before, after = draw(st.text(max_size=20)), draw(st.text(max_size=20))
    return before + draw(EDGE.filter(lambda edge: not before or edge)) + plant.format(core, core) + " " + after


KEYS = st.one_of(st.text(max_size=10), st.sampled_from(["role", "content", "max_tokens"]), planted_text())
SECRET_KEYS = st.sampled_from(["password", "api_key", "Authorization", "clientSecret", "SET-COOKIE", "access_token"])
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=40),
                  st.floats(allow_nan=False, allow_infinity=False))  # fmt: skip
LEAVES = st.one_of(
    PLAIN, st.floats(), st.integers(), st.text(st.characters(), max_size=30), st.binary(max_size=30), st.decimals(),
    st.datetimes(), st.uuids(), st.complex_numbers(), planted_text(), planted_text().map(json.dumps),
    st.builds(ValueError, planted_text()), st.builds(object),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.lists(inner, max_size=5).map(tuple), st.lists(inner, max_size=4).map(deque),
        st.dictionaries(KEYS, inner, max_size=4), st.dictionaries(SECRET_KEYS, planted_text(), max_size=2),
        st.dictionaries(st.one_of(st.integers(), st.none(), st.floats()), inner, max_size=3),
    ),
    max_leaves=12,
)  # fmt: skip
TREES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner, max_size=5))
)


@seed(SEED)
@given(VALUES)
@MANY
def test_no_planted_secret_leaves(value: Any) -> None:
    """Must show 6, C90: any value gives strict JSON without any planted secret, and nothing raises or fails."""
    encoder = Encoder(redactor=Redactor())
    encoded = encoder.snapshot(value)
    orjson.loads(encoded)
    json.loads(encoded, parse_constant=_no_constant)
    assert encoder.failures == 0
    assert not any(core.encode() in encoded for core in CORES), encoded


def _no_constant(name: str) -> None:
    raise AssertionError(name)


@seed(SEED)
@given(TREES)
@MANY
def test_both_ways_give_the_same_bytes(value: Any) -> None:
    """The fast path and the walk agree on plain values; a hook that changes nothing takes the walk."""
    fast = Encoder(redactor=Redactor()).snapshot(value)
    careful = Encoder(redactor=Redactor(lambda path, text: text)).snapshot(value)
    assert fast == careful
    assert Encoder().snapshot(value) == Encoder(redactor=_Never()).snapshot(value)


class _Never(Redactor):
    """A redactor that finds nothing, whose hook leaves all as it is."""

    def __init__(self) -> None:
        super().__init__(lambda path, text: text)

    def key_label(self, name: str) -> None:
        return None

    def text(self, text: str) -> str:
        return text

    def joined(self, parts: list[str]) -> None:
        return None


@seed(SEED)
@given(st.text(max_size=200))
@MANY
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    """What the rules leave, they leave again; and a text without secrets is the same object."""
    redactor = Redactor()
    once = redactor.text(text)
    assert redactor.text(once) == once


@seed(SEED)
@given(st.one_of(planted_text(), st.text(max_size=100)), st.integers(0, 3))
@MANY
def test_the_cheap_look_says_yes_whenever_the_close_look_finds_something(text: str, repeat: int) -> None:
    """A no of `Redactor.suspects` ends the search, so it may be wrong on one side only."""
    redactor = Redactor()
    whole = "the quick brown fox " * (repeat * 20) + text
    if redactor.text(whole) is not whole:
        assert redactor.suspects([whole], whole)
        assert redactor.suspects(["a quick", whole], f"a quick\n{whole}")
        assert whole not in redactor.clean
