"""Usage events through each dialect and back: what the client writes, the collector reads as the same events."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.clock import iso
from spanloom.dialects import Result, atlas, lumen, valmi, vluna
from spanloom.records import Action, Outcome
from spanloom.wire import DELIVERED, Request

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
plain = words.filter(lambda text: text.strip() == text)
ascii_words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,18}[A-Za-z0-9]", fullmatch=True)
numbers = st.one_of(st.integers(-(2**50), 2**50), st.floats(allow_nan=False, allow_infinity=False, width=32))
values = st.one_of(words, numbers, st.booleans(), st.lists(st.integers(0, 9), max_size=3))
OURS = {"customer", "value", "labels", "quantity", "idempotency_key", "spanloom_event_id", "spanloom_kind", "cost_usd"}
properties = st.dictionaries(words.filter(lambda name: name not in OURS), values, max_size=4)
labels = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{1,10}", fullmatch=True), st.one_of(words, st.booleans(), st.integers(-9, 9)),
    max_size=3,
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> Action | Outcome:
    """An action or outcome that every dialect takes."""
    event_id = draw(st.uuids()).hex
    found, tags = draw(properties), draw(labels)
    return draw(st.sampled_from([Action, Outcome]))(
        event_id=event_id,
        timestamp=iso(draw(st.integers(10**18, 2 * 10**18)) // 1000 * 1000),
        name=draw(plain),
        idempotency_key=draw(st.one_of(st.just(event_id), ascii_words)),
        customer=draw(ascii_words),
        value=draw(st.one_of(st.just(1), numbers)),
        properties=msgspec.Raw(msgspec.json.encode(found)) if found else msgspec.UNSET,
        labels=msgspec.Raw(msgspec.json.encode(tags)) if tags else msgspec.UNSET,
    )


def plainly(event: Any, *without: str) -> dict[str, Any]:
    """An event for comparison."""
    said = {
        "kind": type(event).__name__, "time": event.timestamp, "name": event.name, "customer": event.customer,
        "key": event.idempotency_key, "value": float(event.value),
        "properties": {} if event.properties is msgspec.UNSET else msgspec.json.decode(event.properties),
        "labels": {} if event.labels is msgspec.UNSET else msgspec.json.decode(event.labels),
    }  # fmt: skip
    return {name: value for name, value in said.items() if name not in without}


CASES: list[tuple[Any, Any, tuple[str, ...]]] = [
    (valmi, valmi.Options("key", "agent", send_outcome_timestamp=True), ()),
    (atlas, atlas.Options("key"), ()),
    (atlas, atlas.Options("key", profile="atlas-external"), ()),
    (lumen, lumen.Options("key"), ()),
    (lumen, lumen.Options("key", customers="external"), ()),
    (vluna, vluna.Options("realm", profile="vluna-2026-07"), ()),
    (vluna, vluna.Options("realm"), ()),
]


@pytest.mark.parametrize(("dialect", "options", "without"), CASES)
@settings(max_examples=40, deadline=None)
@given(sent=st.lists(events(), min_size=1, max_size=5))
def test_what_is_written_is_read(dialect: Any, options: Any, without: tuple[str, ...], sent: list[Any]) -> None:
    """Every event that is let through is in exactly one request, and reads back as it was (keys, times, values too)."""
    carried = [event for event in sent if dialect.refusal(event) is None]
    read: list[tuple[int, Any]] = []
    for call in dialect.write_request(sent, options):
        request = Request(call.request.method, f"/mount{call.request.path}", call.request.headers, call.request.body)
        intake = dialect.read_request(request, received_at_ns=1_800_000_000_000_000_000)
        assert len(intake.items) == len(call.indexes)
        for index, item in zip(call.indexes, intake.items, strict=True):
            assert item.record is not None, (item.reason, item.path)
            read.append((index, item.record))
        results = [Result(item.index, item.id) for item in intake.items]
        verdicts = dialect.read_reply(call, dialect.write_reply(intake, results))
        assert verdicts == [DELIVERED] * len(call.indexes)
    got = [plainly(event, *without) for _, event in sorted(read, key=lambda pair: pair[0])]
    assert got == [plainly(event, *without) for event in carried]


@pytest.mark.parametrize(("dialect", "options", "without"), CASES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429, 500, 503])
def test_an_error_is_read_as_what_it_asks_for(
    dialect: Any, options: Any, without: tuple[str, ...], status: int
) -> None:
    """The collector's error of each status is never taken for an acknowledgement."""
    event = Action(event_id="e", timestamp=iso(0), name="n", idempotency_key="k", customer="c")
    (call,) = dialect.write_request([event], options)
    (verdict,) = dialect.read_reply(call, dialect.write_error(status, "because"))
    kinds = {400: "split", 413: "split", 422: "split", 409: "rejected"}
    assert verdict.kind == kinds.get(status, "retry")


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"value": math.nan}, "value"),
        ({"value": math.inf}, "value"),
        ({"name": " "}, "name"),
        ({"timestamp": "2026-01-01T00:00:00"}, "zone"),
        ({"timestamp": "yesterday"}, "ISO 8601"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
        ({"properties": msgspec.Raw(b"[1]")}, "properties"),
    ],
)
@pytest.mark.parametrize("dialect", [valmi, atlas, lumen, vluna])
def test_what_no_endpoint_takes_is_refused_by_field(dialect: Any, changed: dict[str, Any], names: str) -> None:
    """A value that is no number, an empty name, a time without a zone, a key too long: the field and the cure."""
    event = Action(
        **{"event_id": "e", "timestamp": iso(0), "name": "n", "idempotency_key": "k", "customer": "c", **changed}
    )
    assert names in str(dialect.refusal(event))
    assert dialect.write_request([event]) == []


@pytest.mark.parametrize("dialect", [atlas, lumen, vluna])
def test_a_missing_customer_is_named(dialect: Any) -> None:
    """Those that bill somebody want to know whom; Valmi does not."""
    event = Action(event_id="e", timestamp=iso(0), name="n", idempotency_key="k")
    assert dialect.refusal(event).startswith("customer: is missing")
    assert valmi.refusal(event) is None
