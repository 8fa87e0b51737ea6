"""Who may come in: the rules that need no body, for every path alike.

Promises: a web page of another site gets nothing by way of the user's own browser (its ``Host`` or ``Origin`` gives it
away), whatever it asks for; a link on it may lead to a page that holds no data.
Must never: look at a body, or say why a credential was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ..store import DEFAULT_PROJECT
from .body import Refused

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Access(Protocol):
    """Decides about a request by its headers. `admit` is asked for every request, `project` for those of mounts that
    have no credentials of their own."""

    def admit(self, headers: Mapping[str, str], *, linked: bool = False) -> None:
        """Raises Refused for a request that another site's page may have made; ``linked``: but for a link to here that
        was followed (see `followed`)."""
        ...

    def project(self, headers: Mapping[str, str]) -> str:
        """The project that a request reads and writes, by its credential. Raises Refused (401)."""
        ...

    def project_for(self, kinds: Iterable[str], credential: str) -> str | None:
        """The project that a credential of one of these kinds (`keys.KINDS`) opens; None when it opens none."""
        ...

    def signer(self, key_id: str) -> tuple[bytes, str] | None:
        """The secret and project of a key that signs requests; None when there is no such key."""
        ...

    @property
    def asks_for_keys(self) -> bool:
        """Whether a credential is needed at all."""
        ...


def followed(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser says that its user followed a link, so that the answer fills a window and no script of the page
    with the link sees it: not a frame, a prefetch, a form's POST or a `fetch`."""
    return (
        method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and "origin" not in headers
    )


@dataclass(frozen=True, slots=True)
class Names:
    """The names that this server goes by: ``Host`` must be one of ``hosts`` (421), ``Origin`` when there is one the
    very ``Host`` that was asked (403: a page of another port is another program's), and no browser may call the
    request cross-site."""

    hosts: frozenset[str] = LOOPBACK_HOSTS

    def admit(self, headers: Mapping[str, str], *, linked: bool = False) -> None:
        """See `Access.admit`."""
        host = headers.get("host", "")
        if _name_of(host) not in self.hosts:
            raise Refused(421, f"Host is {host[:100]!r}: this collector answers as localhost only", close=True)
        origin = headers.get("origin")
        if origin is not None:
            parts = _split(origin)
            if parts is None or parts[0] not in ("http", "https") or parts[1].lower() != host.strip().lower():
                raise Refused(403, f"Origin {origin[:100]!r} may not use this collector", close=True)
        if not linked and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "pages of other sites may not use this collector", close=True)


@dataclass(frozen=True, slots=True)
class AnyName:
    """For a server with keys, which other machines know by names of their own: an ``Origin`` must be the very ``Host``
    that was asked (403), and no browser may call the request cross-site. A rebound name gains nothing without a key."""

    def admit(self, headers: Mapping[str, str], *, linked: bool = False) -> None:
        """See `Access.admit`."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not host:
            raise Refused(400, "no Host: say which server is meant", close=True)
        if origin is not None:
            parts = _split(origin)
            if parts is None or parts[0] not in ("http", "https") or parts[1].lower() != host.strip().lower():
                raise Refused(403, f"Origin {origin[:100]!r} may not use this collector", close=True)
        if not linked and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "pages of other sites may not use this collector", close=True)


@dataclass(frozen=True, slots=True)
class Keyless(Names):
    """For a server on the loopback interface: any or no credential is accepted, everything is one project. What keeps
    strangers out is the interface, and against pages in the user's own browser the names."""

    def project(self, headers: Mapping[str, str]) -> str:
        """See `Access.project`."""
        return DEFAULT_PROJECT

    def project_for(self, kinds: Iterable[str], credential: str) -> str | None:
        """See `Access.project_for`."""
        return DEFAULT_PROJECT

    def signer(self, key_id: str) -> tuple[bytes, str] | None:
        """See `Access.signer`."""
        return None

    @property
    def asks_for_keys(self) -> bool:
        """See `Access.asks_for_keys`."""
        return False


PROJECT_HEADER = "x-spanloom-project"


@dataclass(frozen=True, slots=True)
class Owner(Keyless):
    """As `Keyless`, for the file's owner who looks at it: whoever can read the file chooses among its projects. A page
    names the one that it shows in PROJECT_HEADER (percent-encoded), which no page of another site may send; without
    the header it is ``shown``."""

    shown: str = DEFAULT_PROJECT

    def project(self, headers: Mapping[str, str]) -> str:
        """See `Access.project`."""
        return unquote(headers.get(PROJECT_HEADER, "")) or self.shown


def _name_of(authority: str) -> str:
    """The host of ``host:port``; empty when the port is none, so that nothing odd is taken for a name."""
    host, colon, port = authority.strip().lower().rpartition(":")
    if not colon or authority.strip().endswith("]"):
        return authority.strip().lower()
    return host if port.isascii() and port.isdigit() else ""


def _split(origin: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.scheme, parts.netloc
