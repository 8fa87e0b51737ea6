"""Vluna's service-key signature: made for each attempt, verified in constant time. Facts and sources are in `vluna`.

Promise: both published layouts, to the byte of their published test vectors.
Must never: compare a signature by ``==``, or show a secret in a repr.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

from ..clock import parse_iso_us
from ..errors import WireError
from ..wire import Request

Layout = Literal["v1", "v2"]

_V2 = ("x-realm-id", "x-principal-id", "x-user-id", "x-billing-account-id", "x-billing-user-id", "idempotency-key")
_V1 = ("x-realm-id", "x-billing-account-id", "x-principal-id", "idempotency-key")
_SIGNED: dict[Layout, tuple[str, ...]] = {"v2": _V2, "v1": _V1}
_AUTHORIZATION = re.compile(
    r"SVC-AUTH keyId=(?P<key_id>[^,]+),\s*sig=(?P<sig>[^,]+),\s*ts=(?P<ts>[^,]+),\s*nonce=(?P<nonce>[^,]+),"
    r"\s*alg=HMAC-SHA256"
)


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """``key_id`` and the secret's bytes (the base64 text decoded). ``layout``: "v2" has 12 lines, "v1" has 10."""

    key_id: str
    secret: bytes = field(repr=False)
    layout: Layout = "v2"


def decoded_secret(text: str) -> bytes:
    """The HMAC key of a base64 secret; raises ValueError when it is none."""
    try:
        secret = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    if not secret:
        raise ValueError("is empty")
    return secret


def digest(body: bytes) -> str:
    """The Content-Digest of a body."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def canonical(request: Request, path: str, ts: str, nonce: str, layout: Layout) -> str:
    """The text that is signed. ``path`` is the whole path on the server, query included; the Content-Digest is taken
    from the headers. A header that is absent counts as empty."""
    headers = request.headers
    lines = [request.method.upper(), path, f"ts:{ts}", f"nonce:{nonce}"]
    names = ("content-digest", "content-type", *_SIGNED[layout])
    return "\n".join([*lines, *(f"{name}:{headers.get(name, '')}" for name in names)])


def signature(secret: bytes, text: str) -> str:
    """Base64 of the HMAC-SHA256."""
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def sign(request: Request, path: str, key: ServiceKey, *, ts: str = "", nonce: str = "") -> dict[str, str]:
    """The headers that authorize one attempt at a request; each call has a time and a nonce of its own."""
    ts = ts or datetime.now(timezone.utc).isoformat()
    nonce = nonce or secrets.token_hex(16)
    headers = {**request.headers, "content-digest": digest(request.body)}
    signed = Request(request.method, request.path, headers, request.body)
    sig = signature(key.secret, canonical(signed, path, ts, nonce, key.layout))
    return {
        "content-digest": headers["content-digest"],
        "authorization": f"SVC-AUTH keyId={key.key_id},sig={sig},ts={ts},nonce={nonce},alg=HMAC-SHA256",
    }


def credential(request: Request) -> str:
    """The key id that a request claims, "" for none."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    return found["key_id"] if found else ""


def verify(
    request: Request,
    secret_of: Callable[[str], bytes | None],
    *,
    skew_seconds: float | None = None,
    now_seconds: float = 0.0,
) -> ServiceKey:
    """The key that signed a request, its layout the one that fits (12 lines are tried first).

    ``request.path`` is the raw path, mount and query included; ``secret_of`` gives a key id's secret or None. The
    published server looks at no clock: ``skew_seconds`` (with ``now_seconds`` since the epoch) does. Raises WireError
    with status 401.
    """
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    if found is None:
        raise _refused("Authorization: send SVC-AUTH keyId=…,sig=…,ts=…,nonce=…,alg=HMAC-SHA256", "authorization")
    secret = secret_of(found["key_id"])
    sent_digest = request.headers.get("content-digest", "")
    matches = hmac.compare_digest(sent_digest.encode(), digest(request.body).encode())
    fitting: Layout | None = None
    for layout in ("v2", "v1"):
        text = canonical(request, request.path, found["ts"], found["nonce"], layout)
        if hmac.compare_digest(found["sig"].encode(), signature(secret or b"\0", text).encode()):
            fitting = fitting or layout
    if secret is None:
        raise _refused("no such service key: make one, or check keyId", "authorization")
    if not matches:
        raise _refused("Content-Digest: is not the SHA-256 of the body as received", "content-digest")
    if fitting is None:
        raise _refused("the signature does not match: check the secret, the signed path and headers", "authorization")
    _check_skew(found["ts"], skew_seconds, now_seconds)
    return ServiceKey(found["key_id"], secret, fitting)


def _check_skew(ts: str, skew_seconds: float | None, now_seconds: float) -> None:
    if skew_seconds is None:
        return
    try:
        apart = abs(parse_iso_us(ts) / 1e6 - now_seconds)
    except (ValueError, OverflowError):
        raise _refused(f"ts: {ts[:40]!r} is no ISO 8601 time", "authorization") from None
    if apart > skew_seconds:
        raise _refused(f"ts: is {apart:.0f} s away from the server's time, at most {skew_seconds:.0f}", "authorization")


def _refused(message: str, header: str) -> WireError:
    return WireError(message, path=f"headers.{header}", status_hint=401)
