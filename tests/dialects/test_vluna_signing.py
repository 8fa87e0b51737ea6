"""Vluna's signature: both published vectors, and what must not verify."""

from __future__ import annotations

import pytest

from spanloom.dialects import vluna
from spanloom.dialects.vluna_signing import Layout, canonical, digest, signature
from spanloom.errors import WireError
from spanloom.wire import Request

PATH = "/api/v1/resource?x=1"
BODY = b'{"ok":true}'
HEADERS = {
    "content-type": "application/json; charset=utf-8", "x-realm-id": "realm1", "x-principal-id": "principal1",
    "x-user-id": "user1", "x-billing-account-id": "ba1", "idempotency-key": "idem-1",
}  # fmt: skip
VECTORS: dict[Layout, str] = {
    "v2": "ocEMbrstTPyyjUBiOnLr8oNM2Zj0vAhnyB/kc6bMkkc=",
    "v1": "2NwpmPjmwsNjlDzBkBHcL14MzFxcfblv1DL/0fhz7dI=",
}


@pytest.mark.parametrize("layout", ["v2", "v1"])
def test_published_vector(layout: Layout) -> None:
    """Digest and signature of the published test are reproduced to the byte, and verify."""
    assert digest(BODY) == "sha-256=:QGLtr3UPuAdOfoPgyQKMlOMkaKi28WFHdDKO8EUVD5M=:"
    headers = {**HEADERS, "content-digest": digest(BODY)}
    request = Request("POST", PATH, headers, BODY)
    text = canonical(request, PATH, "2025-01-01T00:00:00Z", "nonce-123", layout)
    assert signature(b"super-secret", text) == VECTORS[layout]
    key = vluna.ServiceKey("k1", b"super-secret", layout)
    made = vluna.sign(Request("POST", PATH, HEADERS, BODY), PATH, key, ts="2025-01-01T00:00:00Z", nonce="nonce-123")
    assert f"sig={VECTORS[layout]}," in made["authorization"]
    signed = Request("POST", PATH, {**HEADERS, **made}, BODY)
    assert vluna.verify(signed, {"k1": b"super-secret"}.get).layout == layout


def signed(body: bytes = BODY, **changed: str) -> Request:
    """A request with a good signature, then changed."""
    key = vluna.ServiceKey("k1", b"super-secret")
    made = vluna.sign(Request("POST", PATH, HEADERS, BODY), PATH, key)
    return Request("POST", changed.pop("path", PATH), {**HEADERS, **made, **changed}, body)


@pytest.mark.parametrize(
    "altered",
    [
        signed(b'{"ok":tru3}'),
        signed(path="/api/v1/resource?x=2"),
        signed(**{"x-principal-id": "principal2"}),
        signed(**{"idempotency-key": "idem-2"}),
        signed(**{"content-digest": digest(b"{}")}),
        signed(authorization="Bearer x"),
    ],
)
def test_what_was_altered_is_refused(altered: Request) -> None:
    """One byte of the body, the path, a signed header, the digest, no signature at all: 401."""
    with pytest.raises(WireError) as refused:
        vluna.verify(altered, {"k1": b"super-secret"}.get)
    assert refused.value.status_hint == 401


def test_an_unknown_key_and_another_secret_are_refused() -> None:
    """Neither a key id that nobody has nor a wrong secret opens anything."""
    for secrets in ({}, {"k1": b"other"}):
        with pytest.raises(WireError):
            vluna.verify(signed(), secrets.get)


def test_no_signature_fits_a_key_that_nobody_has() -> None:
    """S08: not even one made with what stands in for the secret, so that unknown keys take as long to refuse."""
    for stand_in in (b"\0", b""):
        key = vluna.ServiceKey("k9", stand_in)
        request = Request(
            "POST", PATH, {**HEADERS, **vluna.sign(Request("POST", PATH, HEADERS, BODY), PATH, key)}, BODY
        )
        with pytest.raises(WireError, match="no such service key"):
            vluna.verify(request, {"k1": b"super-secret"}.get)


@pytest.mark.parametrize("apart_seconds", [-301.0, 301.0])
def test_a_signature_of_another_time_is_refused_where_a_skew_is_set(apart_seconds: float) -> None:
    """Too old and too far ahead alike; within the skew it verifies."""
    now = 1_767_225_600.0  # 2026-01-01T00:00:00Z
    key = vluna.ServiceKey("k1", b"super-secret")
    made = vluna.sign(Request("POST", PATH, HEADERS, BODY), PATH, key, ts="2026-01-01T00:00:00Z")
    request = Request("POST", PATH, {**HEADERS, **made}, BODY)
    secrets = {"k1": b"super-secret"}
    assert vluna.verify(request, secrets.get, skew_seconds=300, now_seconds=now + apart_seconds * 0.9).key_id == "k1"
    with pytest.raises(WireError, match="301 s away"):
        vluna.verify(request, secrets.get, skew_seconds=300, now_seconds=now + apart_seconds)


def test_every_attempt_has_a_time_and_nonce_of_its_own() -> None:
    """Signing twice gives two signatures over the same body and key."""
    first, second = signed(), signed()
    assert first.headers["authorization"] != second.headers["authorization"]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert b"super-secret" not in repr(vluna.ServiceKey("k1", b"super-secret")).encode()
