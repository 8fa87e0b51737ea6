"""How a command says that it cannot: one sentence with the cure, and an exit code."""

from __future__ import annotations

from ..errors import SpanloomError

NOT_FOUND = 1
WRONG_ARGUMENTS = 2
NOT_INSTALLED = 3


class Problem(SpanloomError):
    """Ends the command; the message goes to stderr and ``exit_code`` (int) to the shell."""

    def __init__(self, message: str, exit_code: int = NOT_FOUND) -> None:
        super().__init__(message)
        self.exit_code = exit_code
