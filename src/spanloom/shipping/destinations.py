"""The destinations that a user names: `Lunary(...)`, `Collector(...)`.

Promises: making one is free of effects and never fails, whatever the arguments; `build` checks them and raises
`SettingsError` with the value and the cure, so that `configure` decides whether that is a warning or an exception. A
key shows in no repr and goes into no pickle.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ..clock import is_run_id
from ..dialects import lunary
from ..errors import SettingsError
from .destination import BatchPolicy, destination_id
from .formats import CollectorFormat, LunaryFormat
from .http_destination import HttpDestination
from .transport import Timeouts, Transport


class _HoldsKey:
    """What every destination with a key shares: it does not leave the process."""

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"{name} holds a key and is not pickled: call spanloom.configure() in each process")


@dataclass(frozen=True)
class Lunary(_HoldsKey):
    """Lunary's cloud, or a server of your own.

    ``public_key`` is the project's public key (a UUID); ``url`` the server's base. ``allow_insecure`` permits plain
    ``http://`` to another machine. Takes runs, feedback and chats.
    """

    public_key: str = field(repr=False)
    url: str = "https://api.lunary.ai"
    allow_insecure: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what is allowed and probably not meant."""
        if isinstance(self.public_key, str) and not is_run_id(self.public_key):
            return (
                "Lunary(public_key=…): Lunary's public keys look like 8-4-4-4-12 hex digits, and this one does not",
            )
        return ()

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        key = _checked_key("Lunary", "public_key", self.public_key)
        url = _checked_url("Lunary", self.url, keyed=True, allow_insecure=self.allow_insecure)
        # The server does 5 s of waiting for each start whose parent it does not know, within the request; and takes
        # 150 requests a minute from one address, bodies up to 20 MB (dialects.lunary).
        policy = BatchPolicy(
            max_events=500,
            max_bytes=4 << 20,
            min_interval_seconds=1.0,
            request_seconds=60.0,
            inline_at_exit=_needs_no_lookup(url),
        )
        transport = Transport(url, headers={}, timeouts=Timeouts(read=45.0))
        wire_format = LunaryFormat(lunary.Options(public_key=key))
        return HttpDestination("lunary", destination_id("lunary", url, key), policy, wire_format, transport)


@dataclass(frozen=True)
class Collector(_HoldsKey):
    """A Spanloom collector (``spanloom serve``) at ``url``; ``key`` when it asks for one.

    ``allow_insecure`` permits a key over plain ``http://`` to another machine. Takes every kind of record.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    allow_insecure: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what is allowed and probably not meant: none."""
        return ()

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        key = None if self.key is None else _checked_key("Collector", "key", self.key)
        url = _checked_url("Collector", self.url, keyed=key is not None, allow_insecure=self.allow_insecure)
        transport = Transport(url, headers={}, timeouts=Timeouts())
        policy = BatchPolicy(max_events=500, max_bytes=1 << 20, inline_at_exit=_needs_no_lookup(url))
        made = HttpDestination("collector", destination_id("collector", url), policy, CollectorFormat(key), transport)
        made.pages_url = url
        return made


def _checked_key(kind: str, name: str, value: Any) -> str:
    """A key that can stand in a header. The error describes it without quoting it."""
    if not isinstance(value, str):
        raise SettingsError(f"{kind}({name}=…) is {type(value).__name__}, not text: give the key as a string")
    key = value.strip()
    if not key:
        raise SettingsError(f"{kind}({name}='') is empty: give the key, or leave this destination out")
    if not all("!" <= character <= "~" for character in key):
        raise SettingsError(f"{kind}({name}=…) holds spaces or characters that no key has: copy it again")
    return key


def _checked_url(kind: str, value: Any, *, keyed: bool, allow_insecure: bool) -> str:
    """A base URL without its trailing slash."""
    shown = f"{kind}(url={_shown(value)})"
    if not isinstance(value, str):
        raise SettingsError(f"{shown}: give an address such as 'http://127.0.0.1:8321'")
    try:
        parts = urlsplit(value.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{shown}: {error}; give an address such as 'http://127.0.0.1:8321'") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"{shown}: give an address that begins with http:// or https:// and names a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(
            f"{shown}: give the base address alone, without user, '?' or '#'; keys have their own argument"
        )
    if parts.scheme == "http" and keyed and not allow_insecure and not _is_loopback(host):
        raise SettingsError(f"{shown} would send the key unencrypted: use https://, or allow_insecure=True")
    return value.strip().rstrip("/")


def _shown(value: Any) -> str:
    """A URL for an error message, short, and without what stands before an @."""
    if not isinstance(value, str):
        return type(value).__name__
    scheme, _, rest = value.rpartition("://")
    return repr((f"{scheme}://" if scheme else "") + rest.rpartition("@")[2][:200])


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _needs_no_lookup(url: str) -> bool:
    """Whether connecting asks no name server: a lookup cannot be cut off at a deadline."""
    host = urlsplit(url).hostname or ""
    if _is_loopback(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
