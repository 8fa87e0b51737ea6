"""What leaves a run carries its trace: `follow` for HTTP clients, `environment` for programs that are started.

    client = spanloom.outgoing.follow(httpx.Client())                 # or httpx.AsyncClient, requests.Session
    subprocess.run(command, env=spanloom.outgoing.environment())

Promises: only the client that was handed in is touched; a request that has a ``traceparent`` already (its caller's,
or one by OpenTelemetry) keeps it, and what OpenTelemetry's instrumentors set later replaces ours: there is one header,
never two. User, thread, customer and tags go out only where asked for (``baggage=True``): a provider is not told who
the user is. Must never: fail a request, import a client's package, or write into ``os.environ``, which all threads
share.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, MutableMapping
from typing import Any, TypeVar

from .errors import UsageError
from .recording.edge import direct, failed, wrong_argument
from .recording.late import shown
from .recording.processes import environment as environment_of_child
from .recording.propagation import write

Client = TypeVar("Client")


def follow(client: Client, *, baggage: bool = False) -> Client:
    """``client`` itself, whose requests from now on carry the run that they are made in (twice is once).

    Takes an ``httpx.Client`` or ``AsyncClient`` (an event hook is added) or a ``requests.Session`` (its ``send``).
    ``baggage`` sends user, thread, customer and tags along. Anything else is left as it is: UsageError when strict.
    """
    try:
        if hasattr(client, "event_hooks"):
            _follow_httpx(client, baggage)
        elif hasattr(client, "send") and hasattr(client, "adapters"):
            _follow_requests(client, baggage)
        else:
            raise UsageError(
                f"outgoing.follow({shown(client)}): give an httpx.Client, an httpx.AsyncClient or a requests.Session"
            )
    except Exception as error:
        wrong_argument(error, "outgoing.follow")
    return client


@direct(lambda: environment_of_child())
def environment(base: Mapping[str, str] | None = None, *, baggage: bool = False) -> dict[str, str]:
    """A copy of this process's environment (or of ``base``) for a program that is started in the current run:
    ``TRACEPARENT`` and ``TRACESTATE`` make that program's runs children of it; ``baggage`` adds ``BAGGAGE``.

    Outside any run, what is there stays. Source of the names: OpenTelemetry's environment variable carriers
    (https://opentelemetry.io/docs/specs/otel/context/env-carriers/).
    """
    return environment_of_child(base, baggage)


class _Hook:
    """An httpx event hook for requests, for clients of both kinds: what it returns can be awaited, or dropped."""

    def __init__(self, baggage: bool) -> None:
        self.baggage = baggage

    def __call__(self, request: Any) -> _Done:
        _mark(request, self.baggage)
        return _DONE


class _Done:
    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE = _Done()


def _follow_httpx(client: Any, baggage: bool) -> None:
    hooks = client.event_hooks
    others = [hook for hook in hooks.get("request", ()) if not isinstance(hook, _Hook)]
    client.event_hooks = {**hooks, "request": [*others, _Hook(baggage)]}


def _follow_requests(session: Any, baggage: bool) -> None:
    send = getattr(session.send, "_spanloom_send", session.send)

    @functools.wraps(send)
    def send_marked(request: Any, **kwargs: Any) -> Any:
        _mark(request, baggage)
        return send(request, **kwargs)

    send_marked._spanloom_send = send  # type: ignore[attr-defined]
    session.send = send_marked


def _mark(request: Any, baggage: bool) -> None:
    """Put the current run into a request's headers, unless they name a parent already that is not from here."""
    try:
        headers: MutableMapping[str, str] = request.headers
        present = headers.get("traceparent")
        if present is None or present == getattr(request, "_spanloom_sent", ""):  # a request may be sent again
            write(headers, baggage)
            request._spanloom_sent = headers.get("traceparent", "")
    except Exception as error:
        failed("outgoing_failed", error)
