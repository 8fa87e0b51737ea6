"""Usage events as the shipper sends them: actions, outcomes and metered runs, in any of the four usage dialects.

Promises: pure; a finished run of a metered type becomes one action, the same one each time; a provider's response that
two runs report is sent once, as the first of them said it, and when their figures differ, a line in the log says so.
What the endpoint's rules refuse is rejected with the field and the cure as the reason, and no neighbour suffers.

Must never: add the figures of two runs, or send a record that another process could make into another action.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..dialects.metering import MODEL_TYPES, action_of, is_metered
from ..records import Action, AnyRecord, RunEnd, decode_batch
from ..wire import DUPLICATE, Call, Response, Verdict
from .destination import kind_of
from .http_destination import Written

_USAGE_KINDS = frozenset({b"action", b"outcome"})
_MAX_KNOWN_RESPONSES = 20_000
"""How many provider responses are remembered; two layers report one within milliseconds of each other."""
_NOT_METERED = Verdict("rejected", "not_carried")
_AFTER_END = Verdict("rejected", "after_end")

_log = logging.getLogger("spanloom")


class UsageFormat:
    """A `http_destination.Format` over one dialect: a module with ``refusal``, ``write_request`` and ``read_reply``.
    ``meter``: the run types that become actions."""

    def __init__(self, dialect: Any, options: Any, meter: frozenset[str] = frozenset()) -> None:
        self._refusal: Callable[[AnyRecord], str | None] = dialect.refusal
        self._write: Callable[[Sequence[AnyRecord], Any], list[Call]] = dialect.write_request
        self._read: Callable[[Call, Response], list[Verdict]] = dialect.read_reply
        self._options = options
        self._meter = meter
        self._responses: dict[str, Action] = {}

    def takes(self, payload: bytes) -> bool:
        """Actions, outcomes, and the ends of metered runs."""
        return kind_of(payload) in _USAGE_KINDS or is_metered(payload, self._meter)

    def write(self, payloads: Sequence[bytes]) -> Written:
        """See `http_destination.Format.write`."""
        settled: dict[int, Verdict] = {}
        twins: dict[int, int] = {}
        places: dict[str, int] = {}
        sent: list[int] = []
        events: list[AnyRecord] = []
        for index, record in enumerate(decode_batch(list(payloads))):
            event = self._event(record)
            events.append(record if event is None else event)
            if event is None:
                settled[index] = _AFTER_END if isinstance(record, RunEnd) and record.late else _NOT_METERED
            elif (wrong := self._refusal(event)) is not None:
                settled[index] = Verdict("rejected", f"invalid: {wrong}"[:300])
            elif self._is_told_already(event):
                first = places.get(event.idempotency_key)
                if first is None:
                    settled[index] = DUPLICATE
                else:
                    twins[index] = first
            else:
                places[event.idempotency_key] = index
                sent.append(index)
        calls = self._write([events[index] for index in sent], self._options)
        placed = [Call(call.request, tuple(sent[index] for index in call.indexes)) for call in calls]
        # No document asks for an order; only of one key the first to arrive counts.
        return Written(placed, settled, twins, ordered=len(places) < len(sent))

    def read(self, call: Call, response: Response) -> list[Verdict]:
        """See `http_destination.Format.read`."""
        return self._read(call, response)

    def _event(self, record: AnyRecord) -> Any:
        """The usage event that a record is, or becomes; None for a run that is not metered."""
        return action_of(record, self._meter) if isinstance(record, RunEnd) else record

    def _is_told_already(self, event: Any) -> bool:
        """Whether another run has reported the same provider's response before."""
        if event.metered not in MODEL_TYPES or event.idempotency_key == event.run_id:
            return False
        first = self._responses.setdefault(event.idempotency_key, event)
        if len(self._responses) > _MAX_KNOWN_RESPONSES:
            del self._responses[next(iter(self._responses))]
        if first.event_id == event.event_id:
            return False
        _warn_of_mismatch(first, event)
        return True


def _warn_of_mismatch(first: Action, second: Action) -> None:
    if _figures(first) != _figures(second):
        _log.warning(
            "spanloom: runs %s and %s report the provider's response %s with different usage: %s counts, %s does not",
            first.run_id, second.run_id, first.idempotency_key, _figures(first), _figures(second),
        )  # fmt: skip


def _figures(action: Action) -> dict[str, Any]:
    properties = {} if action.properties is msgspec.UNSET else msgspec.json.decode(action.properties)
    return {name: properties[name] for name in ("input_tokens", "output_tokens", "total_tokens") if name in properties}
