"""The keys of a collector: made, listed, revoked, and asked about with every request.

Promises: a key is shown once, when it is made, and kept as its SHA-256; only Vluna's secrets can be had again, because
a signature cannot be checked by a hash: they derive (HKDF, RFC 5869) from a master key in a file of mode 0600. Every
comparison takes the same time whatever was presented. What another process adds or revokes counts from the next
request on. Must never: put a key where a log or an error message shows it.

``keys.json`` lies beside the store: ``{"keys": [{"id", "kind", "project", "name", "sha256", "made", "revoked"}]}``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..clock import iso
from ..errors import SettingsError, SpanloomError
from ..store import DEFAULT_PROJECT
from .access import AnyName
from .body import Refused

KINDS = ("collector", "lunary", "otlp", "vluna", "valmi", "atlas", "lumen")
KEYS_FILE = "keys.json"
MASTER_FILE = "keys.master"
_PREFIXES = {"collector": "sl_", "otlp": "sl_", "valmi": "sk_", "atlas": "atlas_", "lumen": "lumen_sk_"}
_AT_THE_ROOT = ("collector", "lunary", "otlp")


class Key(msgspec.Struct, omit_defaults=True):
    """One key: ``sha256`` of the credential (hex), "" for Vluna's, which derive. Times are ISO 8601."""

    id: str
    kind: str
    project: str
    made: str
    sha256: str = ""
    name: str = ""
    revoked: str | None = None


class _File(msgspec.Struct):
    keys: list[Key] = []


_decoder = msgspec.json.Decoder(_File)


class KeyRing:
    """The keys beside a store. ``path`` is the store's file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder = Path(path).absolute().parent
        self.path = folder / KEYS_FILE
        self._master_path = folder / MASTER_FILE
        self._seen: tuple[int, int] | None = None
        self._keys: list[Key] = []

    def keys(self) -> list[Key]:
        """All of them, oldest first, revoked ones too. Raises SpanloomError for a file that cannot be understood."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, []
            return []
        seen = (found.st_mtime_ns, found.st_ino)
        if seen != self._seen:
            try:
                self._keys = _decoder.decode(self.path.read_bytes()).keys
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise SpanloomError(f"{self.path} is no file of keys ({error}): mend it, or move it away") from None
            self._seen = seen
        return self._keys

    def in_force(self) -> list[Key]:
        """Those that open a door."""
        return [key for key in self.keys() if key.revoked is None]

    def add(self, kind: str, project: str = DEFAULT_PROJECT, name: str = "") -> tuple[Key, dict[str, str]]:
        """Make a key of a kind of `KINDS`; it and what its client is to be given, which is not to be had again.

        Raises SettingsError for an unknown kind or a project without a name.
        """
        if kind not in KINDS:
            raise SettingsError(f"no keys of the kind {kind!r}: there are {', '.join(KINDS)}")
        if not project.strip():
            raise SettingsError("the project has no name: give one, such as 'default'")
        key_id = secrets.token_hex(8)
        made = iso(time.time_ns())
        if kind == "vluna":
            key = Key(key_id, kind, project, made, name=name)
            secret = base64.b64encode(self._derived(key_id)).decode()
            given = {"key_id": key_id, "secret": secret}
        else:
            text = str(uuid.uuid4()) if kind == "lunary" else _PREFIXES[kind] + secrets.token_urlsafe(32)
            key = Key(key_id, kind, project, made, _hash(text), name)
            given = {"public_key" if kind == "lunary" else "key": text}
        self._write([*self.keys(), key])
        return key, given

    def revoke(self, key_id: str) -> Key:
        """A key opens nothing from now on. Raises SettingsError when there is no such key in force."""
        known = [key for key in self.in_force() if key.id == key_id]
        if not known:
            raise SettingsError(f"no key {key_id!r} is in force: `spanloom keys list` shows those that are")
        gone = msgspec.structs.replace(known[0], revoked=iso(time.time_ns()))
        self._write([gone if key.id == key_id else key for key in self.keys()])
        return gone

    def project_of(self, kinds: Iterable[str], credential: str) -> str | None:
        """The project that a credential of one of these kinds opens, or None."""
        presented = _hash(credential)
        kinds = frozenset(kinds)
        project = None
        for key in self.in_force():  # every one, so that the time taken tells nothing
            same = hmac.compare_digest(key.sha256.encode(), presented.encode())
            if same and key.kind in kinds:
                project = key.project
        return project

    def signer(self, key_id: str) -> tuple[bytes, str] | None:
        """A service key's secret and project, or None when it is not in force."""
        for key in self.in_force():
            if key.kind == "vluna" and hmac.compare_digest(key.id.encode(), key_id.encode("utf-8", "replace")):
                return self._derived(key.id), key.project
        return None

    def _derived(self, key_id: str) -> bytes:
        """HKDF-SHA256 of the master key, one block, without salt; the key id is what tells one from another."""
        extracted = hmac.new(b"\0" * 32, self._master(), hashlib.sha256).digest()
        return hmac.new(extracted, b"spanloom service key " + key_id.encode() + b"\x01", hashlib.sha256).digest()

    def _master(self) -> bytes:
        try:
            found = self._master_path.read_bytes()
        except FileNotFoundError:
            found = secrets.token_bytes(32)
            self._master_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._master_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(found)
        if len(found) != 32:
            raise SpanloomError(f"{self._master_path} is damaged: without it Vluna's keys are lost; make new ones")
        return found

    def _write(self, keys: list[Key]) -> None:
        """Replace the file in one step; a reader sees the old one or the new one."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self.path.with_suffix(f".{secrets.token_hex(4)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(keys)), indent=1))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)


@dataclass(frozen=True, slots=True)
class Keyed(AnyName):
    """`access.Access` by a key ring: a request without a key in force is refused (401)."""

    ring: KeyRing

    @property
    def asks_for_keys(self) -> bool:
        """See `access.Access.asks_for_keys`."""
        return True

    def project(self, headers: Mapping[str, str]) -> str:
        """See `access.Access.project`: ``Authorization: Bearer`` with a key of the collector, of Lunary's or OTLP's."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        found = self.project_for(_AT_THE_ROOT, token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused(401, "no key, or not one of this collector's: send Authorization: Bearer KEY")
        return found

    def project_for(self, kinds: Iterable[str], credential: str) -> str | None:
        """See `access.Access.project_for`."""
        return self.ring.project_of(kinds, credential)

    def signer(self, key_id: str) -> tuple[bytes, str] | None:
        """See `access.Access.signer`."""
        return self.ring.signer(key_id)


def _hash(credential: str) -> str:
    return hashlib.sha256(credential.encode("utf-8", "replace")).hexdigest()
