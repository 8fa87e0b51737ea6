"""When to send again: the one retry policy, its circuit breaker and its budget, and what each HTTP status asks for.

Promises: pure values and arithmetic; the caller passes the time in, so every rule is a table in the tests. Never
sleeps, never reads a clock, never gives a record up: that is the shipper's to decide.

What holds the rate down while an endpoint is ill:

    backoff     the n-th failure in a row waits a random time up to 0.5 s * 2^n, at least 0.5 s and at most 30 s
    Retry-After waited for when it is longer than that (0 to 300 s; what is not a time is ignored)
    budget      a retry costs one token; tokens come back one per 10 s and one per 10 successes, three at most, so that
                an endpoint that fails half of all requests receives at most 1.2 requests for each batch offered
    breaker     after five failures in a row the circuit is open: one probe at most every 30 s, until one succeeds
    pause       a refusal that a person must cure (wrong key, wrong path): likewise one probe every 30 s
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Literal

Reaction = Literal["answered", "duplicate", "split", "shrink", "pause", "plain", "retry"]
"""What follows from a status: read the reply / all were there already / halve the batch until the poison is alone /
send fewer bytes / wait for a person / send without compression / send again later."""

RETRY_AFTER_LIMIT_SECONDS = 300.0

_REACTIONS: dict[int, Reaction] = {
    408: "retry",
    409: "duplicate",
    400: "split",
    413: "shrink",
    415: "plain",
    422: "split",
    425: "retry",
    429: "retry",
    501: "pause",
}


def reaction_to(status: int) -> Reaction:
    """What an HTTP status (int) asks for. Redirects and refusals that no repetition cures pause; nothing drops."""
    known = _REACTIONS.get(status)
    if known is not None:
        return known
    if 200 <= status < 300:
        return "answered"
    if 300 <= status < 500:  # redirects are not followed; 401, 402, 403, 404, 405, 410, 431 … want a person
        return "pause"
    return "retry"


def retry_after_seconds(text: str | None, wall_seconds: float) -> float | None:
    """The wait that a Retry-After header asks for, within 0 to 300 s; None when it says nothing readable.

    ``text`` is a number of seconds or an HTTP date (RFC 9110, 10.2.3); ``wall_seconds`` is now, since the epoch.
    """
    if text is None or len(text) > 64:
        return None
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, wall_seconds)
    if math.isnan(seconds) or seconds == math.inf:
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def _seconds_until(http_date: str, wall_seconds: float) -> float:
    try:
        moment = parsedate_to_datetime(http_date)
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp() - wall_seconds
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return math.nan


@dataclass(frozen=True, slots=True)
class RetryRules:
    """The numbers of the policy, in seconds, requests and tokens."""

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    open_after: int = 5
    probe_seconds: float = 30.0
    probe_jitter_seconds: float = 10.0
    hurry_seconds: float = 1.0
    tokens: float = 3.0
    tokens_per_success: float = 0.1
    tokens_per_second: float = 0.1


PacingState = Literal["closed", "retrying", "open", "paused"]


class Pacing:
    """Where one destination stands with its endpoint: when the next request may go out.

    All times are monotonic seconds that the caller passes in. ``next_at`` is the earliest moment of the next request.
    """

    def __init__(self, rules: RetryRules, uniform: Callable[[float, float], float] | None = None) -> None:
        self.rules = rules
        # A generator of our own: the host's seed must not give fifty processes the same jitter.
        self._uniform = uniform or random.Random().uniform
        self.state: PacingState = "closed"
        self.next_at = 0.0
        self.failures = 0
        self._tokens = rules.tokens
        self._refilled_at: float | None = None
        self._attempted_at = -math.inf
        self._held_until = -math.inf

    def succeeded(self, now: float) -> None:
        """The endpoint answered: the circuit closes and the next request may go at once."""
        self._refill(now)
        self._tokens = min(self.rules.tokens, self._tokens + self.rules.tokens_per_success)
        self.failures = 0
        self.state = "closed"
        self._attempted_at = now
        self.next_at = now

    def failed(self, now: float, *, retry_after: float | None = None, pause: bool = False) -> float:
        """The request failed; returns the seconds to wait. ``pause``: repeating it soon would be pointless."""
        rules = self.rules
        self.failures += 1
        self._attempted_at = now
        if pause:
            self.state = "paused"
        elif self.failures >= rules.open_after:
            self.state = "open"
        else:
            self.state = "retrying"
        if self.state == "retrying":
            delay = max(self.pause_seconds(self.failures), self._seconds_to_token(now))
        else:
            delay = rules.probe_seconds + self._uniform(0.0, rules.probe_jitter_seconds)
        self._held_until = now + (retry_after or 0.0)
        if pause:
            self._held_until = max(self._held_until, now + rules.probe_seconds)
        self.next_at = max(now + delay, self._held_until)
        return self.next_at - now

    def hold(self, now: float, seconds: float) -> None:
        """The endpoint took some and asked for a pause (Retry-After, in seconds) before the rest: no failure."""
        self._held_until = max(self._held_until, now + seconds)
        self.next_at = max(self.next_at, self._held_until)

    def hurry(self, now: float) -> None:
        """Someone waits in `flush`: try soon, though never twice within a second, nor before a Retry-After is over."""
        soon = max(now, self._attempted_at + self.rules.hurry_seconds, self._held_until)
        self.next_at = min(self.next_at, soon)

    def may_try_at_exit(self, now: float) -> bool:
        """Whether one last attempt is decent although the endpoint was failing: not while it asked us to wait."""
        return self.state in ("retrying", "open") and now >= self._held_until

    def pause_seconds(self, failures: int) -> float:
        """How long records wait that the endpoint put off one by one, ``failures`` times in a row, while it took
        others."""
        rules = self.rules
        return self._uniform(
            rules.first_seconds, min(rules.longest_seconds, rules.first_seconds * 2.0 ** min(failures, 30))
        )

    def _seconds_to_token(self, now: float) -> float:
        """Take a token; the answer is how long to wait until it is really there."""
        self._refill(now)
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self.rules.tokens_per_second)

    def _refill(self, now: float) -> None:
        if self._refilled_at is not None:
            gained = (now - self._refilled_at) * self.rules.tokens_per_second
            self._tokens = min(self.rules.tokens, self._tokens + max(0.0, gained))
        self._refilled_at = now
