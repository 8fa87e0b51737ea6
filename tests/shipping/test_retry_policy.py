"""The retry policy by table and by property: statuses, Retry-After, backoff, budget, breaker."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.shipping.retry import Pacing, RetryRules, reaction_to, retry_after_seconds


@pytest.mark.parametrize(
    ("statuses", "reaction"),
    [
        ((200, 201, 202, 204, 207, 299), "answered"),
        ((409,), "duplicate"),
        ((400, 422), "split"),
        ((413,), "shrink"),
        ((415,), "plain"),
        ((301, 302, 307, 308, 401, 402, 403, 404, 405, 410, 431, 501), "pause"),
        ((408, 425, 429, 500, 502, 503, 504, 520, 529, 599, 0, 999), "retry"),
    ],
)
def test_each_status_has_its_reaction(statuses: tuple[int, ...], reaction: str) -> None:
    """The class table of statuses (C63 to C68, C71, decision 12)."""
    assert {reaction_to(status) for status in statuses} == {reaction}


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("5", 5.0),
        (" 7 ", 7.0),
        ("-1", 0.0),
        ("1e308", 300.0),
        ("NaN", None),
        ("inf", None),
        ("-inf", 0.0),
        ("", None),
        ("soon", None),
        (None, None),
        ("9" * 1_000_000, None),
        (formatdate(NOW + 60, usegmt=True), 60.0),
        (formatdate(NOW - 60, usegmt=True), 0.0),
        (formatdate(NOW + 1e6, usegmt=True), 300.0),
        ("Mon, 99 Foo 9999 99:99:99 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2400", None),
    ],
)
def test_retry_after_is_read_or_ignored(text: str | None, seconds: float | None) -> None:
    """A Retry-After of any shape gives a wait within 0 to 300 s, or none (C68)."""
    assert retry_after_seconds(text, NOW) == seconds


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_retry_after_never_parks_forever(text: str) -> None:
    """Whatever the header holds, the wait is None or within 0 to 300 s."""
    seconds = retry_after_seconds(text, NOW)
    assert seconds is None or 0.0 <= seconds <= 300.0


def test_backoff_is_jittered_and_bounded() -> None:
    """The n-th failure waits between 0.5 s and min(30, 0.5 * 2^n) s, by the random number drawn."""
    rules = RetryRules(open_after=100, tokens=1000)
    longest = Pacing(rules, uniform=lambda low, high: high)
    shortest = Pacing(rules, uniform=lambda low, high: low)
    assert [longest.failed(0.0) for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert [shortest.failed(0.0) for _ in range(8)] == [0.5] * 8


def test_the_circuit_opens_after_five_failures_and_closes_by_one_success() -> None:
    """Five failures in a row open the circuit: probes at least 30 s apart; one success closes it."""
    pacing = Pacing(RetryRules(tokens=100))
    for _ in range(4):
        pacing.failed(0.0)
        assert pacing.state == "retrying"
    assert pacing.failed(0.0) >= 30.0
    assert pacing.state == "open"
    assert pacing.failed(40.0) >= 30.0
    pacing.succeeded(80.0)
    assert (pacing.state, pacing.failures, pacing.next_at) == ("closed", 0, 80.0)


def test_a_pause_probes_every_thirty_seconds_even_in_a_hurry() -> None:
    """401 and its like: at most one probe in 30 s, flush or no flush (C66)."""
    pacing = Pacing(RetryRules())
    assert pacing.failed(0.0, pause=True) >= 30.0
    pacing.hurry(5.0)
    assert pacing.next_at >= 30.0
    assert pacing.state == "paused"


def test_a_hurry_shortens_a_backoff_but_not_a_retry_after() -> None:
    """`flush` may try again a second after the last attempt, unless the endpoint named a time."""
    pacing = Pacing(RetryRules(), uniform=lambda low, high: high)
    for _ in range(6):
        pacing.failed(100.0)
    pacing.hurry(100.2)
    assert pacing.next_at == 101.0
    pacing.failed(101.0, retry_after=20.0)
    pacing.hurry(102.0)
    assert pacing.next_at == 121.0


def test_the_longer_of_backoff_and_retry_after_counts() -> None:
    """A Retry-After shorter than the backoff does not shorten it."""
    pacing = Pacing(RetryRules(), uniform=lambda low, high: high)
    assert pacing.failed(0.0, retry_after=0.1) == 1.0
    assert pacing.failed(1.0, retry_after=300.0) == 300.0


@given(st.lists(st.booleans(), min_size=1, max_size=400), st.randoms(use_true_random=False))
def test_the_budget_holds_the_number_of_retries(successes: list[bool], random: object) -> None:
    """Retries never exceed three, plus a tenth of the successes, plus one for every 10 s (C69)."""
    pacing = Pacing(RetryRules(open_after=10**9), uniform=random.uniform)  # type: ignore[attr-defined]
    now, retries, good = 0.0, 0, 0
    for success in successes:
        if success:
            good += 1
            pacing.succeeded(now)
            now += 1.0
        else:
            pacing.failed(now)
            now = pacing.next_at
            retries += 1
    assert retries <= 3 + 0.1 * good + 0.1 * now + 1e-6


@given(st.floats(0, 1e6), st.lists(st.tuples(st.floats(0, 300) | st.none(), st.booleans()), max_size=40))
def test_the_next_attempt_is_always_ahead_and_never_far(
    start: float, failures: list[tuple[float | None, bool]]
) -> None:
    """However it failed, the next attempt lies ahead, and within 300 s or the token's 10 s per failure."""
    pacing, now = Pacing(RetryRules()), start
    for retry_after, pause in failures:
        delay = pacing.failed(now, retry_after=retry_after, pause=pause)
        assert math.isfinite(delay) and 0.0 < delay <= 301.0
        now = pacing.next_at


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """C68: the endpoint asked for 60 s, and then, for other records, for 1 s: the 60 s stand, also for who is in a
    hurry."""
    pacing = Pacing(RetryRules())
    pacing.hold(100.0, 60.0)
    pacing.hold(101.0, 1.0)
    pacing.hurry(102.0)
    assert pacing.next_at == 160.0
    assert pacing.state == "closed" and pacing.failures == 0
