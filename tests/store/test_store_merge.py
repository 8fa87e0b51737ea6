"""Merging: a run is a function of the set of its events (S26)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, structs
from store_events import at, chat, contents, end, feedback, put, raw, records, start

from spanloom.records import AnyRecord, ErrorInfo, RunUpdate, TokenUsage
from spanloom.store import Incoming, Reader, Run, Store
from spanloom.store.columns import FIELDS, load, store
from spanloom.store.merge import Claims, claims_of, clean, join, merge_feedback


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def stored(path: Path, *batches: list[AnyRecord]) -> dict[str, Run]:
    """The runs by id, after these batches."""
    with Store(path) as store:
        for batch in batches:
            put(store, *batch)
    return runs_at(path)


def runs_at(path: Path) -> dict[str, Run]:
    with Reader(path) as reader:
        return {run.id: run for run in reader.runs(limit=1000).runs}


@settings(max_examples=40, deadline=None)
@given(st.lists(records, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_order_and_any_duplicates_leave_the_same_store(events: list[AnyRecord], chance: random.Random) -> None:
    """Events in one batch, and the same shuffled, doubled and split over batches: equal runs, content, feedback."""
    with TemporaryDirectory() as directory:
        straight, crooked = Path(directory) / "straight.db", Path(directory) / "crooked.db"
        with Store(straight) as one:
            put(one, *events)
        again = events + chance.choices(events, k=len(events))
        chance.shuffle(again)
        with Store(crooked) as other:
            while again:
                size = chance.randint(1, 4)
                put(other, *again[:size])
                again = again[size:]
        assert contents(straight) == contents(crooked)


def claim_sets() -> st.SearchStrategy[Claims]:
    return records.flatmap(
        lambda record: st.sampled_from([claims for _, claims in claims_of(record, content=True)] or [{}])
    )


@settings(max_examples=300, deadline=None)
@given(claim_sets(), claim_sets(), claim_sets())
def test_joining_is_commutative_associative_and_idempotent(a: Claims, b: Claims, c: Claims) -> None:
    """The three laws, on claims of any events."""
    assert comparable(joined(a, b)) == comparable(joined(b, a))
    assert comparable(joined(joined(a, b), c)) == comparable(joined(a, joined(b, c)))
    assert comparable(joined(a, a)) == comparable(a)


def joined(a: Claims, b: Claims) -> Claims:
    return join(dict(a), b)


def comparable(claims: Claims) -> dict[str, Any]:
    """Raw values are compared by their bytes."""
    return {field: (*claim[:2], _bytes(claim[2])) for field, claim in claims.items()}


def _bytes(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_bytes, value))
    return bytes(value) if isinstance(value, Raw) else value


@settings(max_examples=300, deadline=None)
@given(claim_sets(), claim_sets())
def test_a_row_gives_back_the_claims_it_was_made_of(a: Claims, b: Claims) -> None:
    """load(store(claims)) == claims, so that joining into a stored row is joining into its events."""
    claims = {field: claim for field, claim in joined(a, b).items() if field in FIELDS or field.startswith("tags.")}
    values = store(claims)
    row = dict(zip((*FIELDS, "tags", "duration_us", "origins"), values, strict=True))
    assert load(row) == claims  # type: ignore[arg-type]


def test_an_end_before_its_start_is_one_finished_run(path: Path) -> None:
    """End before start, in batches of their own (S26)."""
    run = stored(path, [end("r", 3, output="o", name="n")], [start("r", 1, input="i", name="n")])["r"]
    assert (run.status, run.duration_us, run.name) == ("ok", 2_000_000, "n")


def test_a_start_that_never_comes_is_not_missed(path: Path) -> None:
    """An end is self-contained: type, start, parent and user stand on it."""
    lone = end("r", 3, type="llm", started_at=at(1), parent_run_id="p", user_id="u", tokens_usage=TokenUsage(prompt=1))
    run = stored(path, [lone])["r"]
    assert (run.type, run.duration_us, run.parent_id, run.user_id, run.tokens.prompt) == ("llm", 2_000_000, "p", "u", 1)


def test_an_error_after_an_end_wins_and_keeps_the_output(path: Path) -> None:
    """Error then end and end then error give an error with the end's output and usage."""
    good = end("r", 2, output="o", tokens_usage=TokenUsage(prompt=7))
    bad = end("r", 3, event_id="r.x", status="error", error=ErrorInfo(message="no", type="ValueError"))
    for number, order in enumerate(permutations([start("r"), good, bad])):
        place = path.with_name(f"{number}.db")
        run = stored(place, *([event] for event in order))["r"]
        assert (run.status, run.error_type, run.error_message, run.tokens.prompt) == ("error", "ValueError", "no", 7)
        with Reader(place) as reader:
            detail = reader.run("r")
            assert detail is not None and detail.content.output == raw("o")


def test_a_survivors_guess_gives_way_to_the_real_end(path: Path) -> None:
    """``killed`` was guessed by whoever found the journal; the end that was still under way corrects it."""
    guess = end("r", 1, event_id="r.k", status="killed")
    run = stored(path, [start("r"), guess], [end("r", 5, output="o")])["r"]
    assert (run.status, run.duration_us) == ("ok", 5_000_000)


def test_usage_follows_the_updates_until_an_end_says_it(path: Path) -> None:
    """The latest update stands until the end, which stands for good, whatever comes after it."""
    updates = [
        RunUpdate(event_id=f"r.u{n}", timestamp=at(n), run_id="r", tokens_usage=TokenUsage(completion=10 * n))
        for n in (1, 2, 3)
    ]
    assert stored(path, [updates[1]], [updates[2], updates[0]])["r"].tokens.completion == 30
    final = end("r", 4, tokens_usage=TokenUsage(completion=25))
    assert stored(path, [final], [updates[2]])["r"].tokens.completion == 25


def test_equal_ends_with_different_outputs_have_one_winner(path: Path) -> None:
    """Two ends at one moment: the content decides, not the order (S26)."""
    ends = [end("r", 1, event_id=f"r.{word}", output=word) for word in ("one", "two")]
    answers = set()
    for number, order in enumerate(permutations(ends)):
        place = path.with_name(f"{number}.db")
        stored(place, *([event] for event in order))
        with Reader(place) as reader:
            detail = reader.run("r")
            assert detail is not None and detail.content.output is not None
            answers.add(bytes(detail.content.output))
    assert len(answers) == 1


def test_what_was_set_during_a_run_stands_over_what_it_began_with(path: Path) -> None:
    """Metadata merges key by key, the end's over the start's; tags add up."""
    with Store(path) as store:
        put(store, end("r", 1, metadata=raw({"b": 2, "c": 3}), tags=["late"]))
        put(store, start("r", metadata=raw({"a": 1, "b": 1}), tags=["early"]))
    with Reader(path) as reader:
        detail = reader.run("r")
    assert detail is not None and detail.run.tags == ["early", "late"]
    assert {key: bytes(value) for key, value in detail.content.metadata.items()} == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_clock_that_ran_backwards_gives_no_negative_duration(path: Path) -> None:
    """An end before its start by the clocks: duration 0, and the run says that it is skewed (S28)."""
    run = stored(path, [start("r", 5), end("r", 1)])["r"]
    assert (run.duration_us, run.skewed) == (0, True)


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00Z", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59Z", "soon", ""])
def test_any_timestamp_can_be_stored(path: Path, moment: str) -> None:
    """The far past, the far future and no time at all (S28)."""
    run = stored(path, [structs.replace(start("r", input="x"), timestamp=moment), end("r")])["r"]
    assert run.status == "ok" and (run.started_us is None) == (moment in ("soon", ""))


def test_a_chat_makes_its_thread_and_keeps_its_messages_in_order(path: Path) -> None:
    """The answer may come first; the thread exists as soon as a chat names it."""
    runs = stored(
        path, [chat("c", "t", 5, "assistant", "Sunny.", user_id="u")], [chat("c", "t", 1, "user", "Weather?")]
    )
    assert (runs["t"].type, runs["c"].type, runs["c"].parent_id) == ("thread", "chat", "t")
    assert (runs["c"].status, runs["c"].duration_us, runs["t"].started_us) == ("ok", 4_000_000, runs["c"].started_us)
    with Reader(path) as reader:
        detail = reader.run("c")
    assert detail is not None
    assert [bytes(item.message) for item in detail.content.messages] == [
        bytes(raw({"role": "user", "content": "Weather?"})), bytes(raw({"role": "assistant", "content": "Sunny."})),
    ]  # fmt: skip


def orders(*events: AnyRecord) -> Iterator[tuple[AnyRecord, ...]]:
    yield from permutations(events)


def test_feedback_finds_its_run_whichever_comes_first(path: Path) -> None:
    """By run id and by the user's key, before and after the run, and when the key is learned late (decision 15)."""
    by_id = feedback(5, {"comment": "good"}, run_id="r")
    by_key = feedback(6, {"thumb": "up"}, key="order-42")
    for number, order in enumerate(orders(by_id, by_key, start("r"), end("r", key="order-42"))):
        run = stored(path.with_name(f"{number}.db"), *([event] for event in order))["r"]
        assert run.feedback == {"comment": "good", "thumb": "up"}


def test_later_feedback_wins_by_its_own_time_and_overwrite_replaces(path: Path) -> None:
    """Key by key the later event time; overwrite wipes what is older, not what is newer; null takes a key away."""
    events = (
        feedback(1, {"thumb": "up", "comment": "old"}, run_id="r"),
        feedback(2, {"score": 0.5}, run_id="r", overwrite=True),
        feedback(3, {"thumb": "down", "label": "x"}, run_id="r"),
        feedback(4, {"label": None}, run_id="r"),
    )
    for number, order in enumerate(orders(*events)):
        run = stored(path.with_name(f"{number}.db"), [start("r")], *([event] for event in order))["r"]
        assert run.feedback == {"score": 0.5, "thumb": "down"}


def test_merging_no_feedback_is_nothing() -> None:
    """The empty set has the empty answer."""
    assert merge_feedback([]) == {}


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_clean_text_can_be_stored_and_keeps_what_was_fine(text: str) -> None:
    """Any text becomes text without NUL and lone surrogates; clean text stays as it is."""
    cleaned = clean(text)
    assert "\0" not in cleaned and clean(cleaned) == cleaned
    harmful = "\0" in text or any("\ud800" <= char <= "\udfff" for char in text)
    assert (cleaned == text) is not harmful
    assert len(cleaned.encode().decode()) == len(text)


def test_hostile_texts_and_numbers_are_stored(path: Path) -> None:
    """NUL, lone surrogates, counts beyond 64 bits and costs that are no numbers do not harm their batch."""
    odd = end("r\0", 1, name="a\ud800b", tokens_usage=TokenUsage(prompt=1 << 70, completion=-1), cost=float("nan"))
    with Store(path) as store:
        answers = store.write([Incoming(odd), Incoming(start("good"))])
    assert [answer.new for answer in answers] == [True, True]
    run = runs_at(path)["r\u2400"]
    assert (run.name, run.tokens.prompt, run.tokens.completion, run.cost) == ("a\ufffdb", None, None, None)
