"""The Vluna dialect: both ends of ``POST /events`` and ``/events/batch``. Default: the document; signing is HMAC.

Facts, from Vluna's tutorial "events then ratings" (D), its public Python SDK ``vlunaai`` 0.1.2 to 0.3.2 (S) and its
public server (V; only facts were taken):

- Base ``https://api.us-east-1.vluna.ai/mgt/v1``; 201 first, 200 for a replay, 207 for a batch. (D)
- Fields: semantic_kind (activity, outcome), event_type (1 to 128), occurred_at with zone, payload, labels. (D, S)
- Label keys, lower case, match ``^[a-z][a-z0-9_]{1,63}$``; other types than text, number, boolean are dropped. (V)
- A batch is ``{"events": [...]}``, at most 1000 (S); its answer has ``data.results[]`` with index, status (accepted,
  duplicate, invalid, failed), event_id, error; duplicates are in neither of the counts. (V)
- Payer and user are headers, X-Principal-Id and X-User-Id, so a request has one of each; later servers require the
  user. (S, V) [our reading: the principal where no user is known]
- Every write needs an Idempotency-Key (V: 400); the same with another body is 409; replays within 24 h. (V)
- Events are deduplicated by their content, from 0.3.1 on by ``event_key``. (V, S)
- Authorization: ``SVC-AUTH keyId=…,sig=…,ts=…,nonce=…,alg=HMAC-SHA256`` and Content-Digest; the signed text has 10
  lines in the document's generation and 12 since 0.1.4 (S, V). The document shows no signature; 12 is the default.
- Errors come as ``{"ok": false, "code", "message"}`` (V) or ``{"error": {"code", "message"}}`` (its OpenAPI).

What we add: ``spanloom_event_id`` in the payload, because two equal events of one moment would count once; ``value``
there when it is not 1. Not carried: run ids, ``metered``; the idempotency key of a batch's item in the default profile.
"""

from __future__ import annotations

from .vluna_reading import CONFLICT, DEDUPE_SECONDS, REPLAY_SECONDS, read_request, write_error, write_reply
from .vluna_signing import ServiceKey, credential, decoded_secret, sign, verify
from .vluna_writing import MAX_EVENTS, PROFILES, Options, read_reply, refusal, write_request

__all__ = [
    "CONFLICT", "DEDUPE_SECONDS", "MAX_EVENTS", "PROFILES", "REPLAY_SECONDS", "Options", "ServiceKey", "credential",
    "decoded_secret", "read_reply", "read_request", "refusal", "sign", "verify", "write_error", "write_reply",
    "write_request",
]  # fmt: skip
