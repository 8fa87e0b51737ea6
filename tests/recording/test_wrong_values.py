"""Values of the wrong kind, where a user's slip puts them: the program goes on as if Spanloom were not there."""

from __future__ import annotations

from typing import Any

import pytest

from spanloom.errors import UsageError
from spanloom.recording.decorators import llm, tool
from spanloom.recording.propagation import extract
from spanloom.recording.run import current_run


def test_objects_of_other_decorators_stay_what_they_are(install: Any) -> None:
    """H: what another decorator made, and cannot be called, is given back as the same object, and counted."""

    class FunctionTool:
        pass

    class Data(dict):  # type: ignore[type-arg]
        pass

    recorded = install()
    for made in (FunctionTool(), Data(), property(lambda self: 1)):
        assert tool(made) is made and tool(name="x")(made) is made  # type: ignore[type-var]
    assert recorded.rejected == ["wrong_argument"] * 6


@pytest.mark.parametrize("headers", [None, 5, "traceparent", b"x"])
def test_extract_of_no_headers(install: Any, headers: Any) -> None:
    """C92: what are no headers leave the block without effect; strict says what would be."""
    recorded = install()
    with extract(headers):
        assert not current_run()
    assert recorded.rejected == ["wrong_argument"]
    install(strict=True)
    with pytest.raises(UsageError, match=r"extract\(.*must be headers"):
        extract(headers)


def test_a_wrong_value_is_named_without_its_code(install: Any) -> None:
    """C02: the message about a wrong value calls no ``__repr__`` of the user's, however deep it lies, and does no work
    in proportion to the value."""
    asked: list[str] = []

    class Slow:
        def __repr__(self) -> str:
            asked.append("repr")
            return "slow"

        __str__ = __repr__

    recorded = install()
    for wrong in ([Slow()], (Slow(),), {"a": Slow()}, {"a": [Slow()]}, [[Slow()]], Slow()):
        with llm("m", tags=wrong, parent=wrong) as run:  # type: ignore[arg-type]
            run.set(usage=[wrong], tags=wrong)  # type: ignore[arg-type]
    assert asked == [] and set(recorded.rejected) == {"wrong_argument"}
    install(strict=True)
    for wrong, shown in (([1, "a"], r"\[1, 'a'\]"), ({"a": 1}, r"\{'a': 1\}"), ([0] * 10**6, "<list>")):
        with pytest.raises(UsageError, match=shown):
            llm("m", tags=wrong)  # type: ignore[call-overload]
