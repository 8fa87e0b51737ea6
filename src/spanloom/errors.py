"""Every exception that Spanloom raises on purpose, drawn as one tree.

    SpanloomError
    ├── UsageError          a wrong argument to a direct call (raised only with ``strict=True``)
    │   └── SettingsError   a wrong setting, from ``configure()`` or the environment
    ├── WireError           bytes that are not what a wire format promises; carries an HTTP status hint and a path
    └── DeliveryError       a batch could not be handed over; the shipper decides what follows
        └── StoreError      the store could not commit, or not answer in time

Messages say what happened, which value, and the cure. None of these ever reaches decorated code.
"""

from __future__ import annotations


class SpanloomError(Exception):
    """Root of the tree."""


class UsageError(SpanloomError, ValueError):
    """A wrong argument to one of Spanloom's own functions."""


class SettingsError(UsageError):
    """A wrong setting, named with its source (an argument of ``configure`` or an environment variable)."""


class WireError(SpanloomError):
    """A message that a dialect cannot read.

    ``status_hint`` is the HTTP status (int) that a server answers with; ``path`` names the place, such as
    ``$.events[3].timestamp``.
    """

    def __init__(self, message: str, *, path: str = "$", status_hint: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.status_hint = status_hint

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class DeliveryError(SpanloomError):
    """A whole batch was not handed over; ``reason`` is the word that the ledger counts under.

    ``pause``: repeating it is pointless until a person has changed something (a wrong key, a certificate).
    ``retry_after_seconds``: the wait that the endpoint asked for, or None. ``answered``: the endpoint spoke, so that
    nothing of the batch is in doubt; without an answer it may have been stored. ``in_doubt`` narrows that to some
    places of the batch (none, when no byte was sent); None means all of them.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        pause: bool = False,
        retry_after_seconds: float | None = None,
        answered: bool = False,
        in_doubt: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.pause = pause
        self.retry_after_seconds = retry_after_seconds
        self.answered = answered
        self.in_doubt = in_doubt


class StoreError(DeliveryError):
    """The store did not do it, and left everything as it was.

    ``reason``: "busy" (another program holds the file), "disk_full", "io", "corrupt", "newer_schema" (a later Spanloom
    wrote the file), "foreign" (another program's database), "timeout" (a query took too long), "missing" (there is no
    file to read), "closed".
    """
