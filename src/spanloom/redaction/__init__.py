"""Takes secrets out of text, by name, by shape and by the user's hook; the rules and their limits are in `rules`."""

from __future__ import annotations

from .rules import DENSE, FAILED, REDACTED, Hook, Path, Redactor, marker

__all__ = ["DENSE", "FAILED", "REDACTED", "Hook", "Path", "Redactor", "marker"]
