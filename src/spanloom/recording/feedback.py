"""Feedback on a run, by its id or by the user's own key.

Promises: a snapshot at once, a fresh event id, never sampled away. Must never: need the run to be here, or to exist.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from ..clock import is_run_id, iso
from ..errors import UsageError
from .ambient import current_var
from .edge import OFF, direct, nothing
from .late import MISSING, Missing, shown
from .lineage import json_text
from .recorder import Recorder, live, problem

if TYPE_CHECKING:
    from .run import Run

Thumb = Literal["up", "down"] | Missing | None


@direct(nothing)
def feedback(
    run_id: str | Run | None = None,
    *,
    key: str | None = None,
    thumb: Thumb = MISSING,
    comment: str | None = None,
    score: float | None = None,
    label: str | None = None,
    overwrite: bool = False,
) -> None:
    """Feedback for a run, from any process and at any time, also before the run has arrived.

    ``run_id`` is a Run or its id; ``key`` is the user's own name for it (see `context`). ``thumb`` is ``"up"``,
    ``"down"``, or None to take it back. ``score`` is a finite number. Feedback adds to what was given before, unless
    ``overwrite``. Wrong arguments raise UsageError when strict; otherwise they are counted and said in the log, and
    what is right beside them is kept.
    """
    recorder = live()
    if recorder is None or current_var.get() is OFF:
        return
    whose: Any = run_id
    if whose is not None and not isinstance(whose, str):
        whose = getattr(whose, "id", whose)
        if whose == "":
            return  # the inert run
    give(recorder, whose, key, thumb, comment, score, label, overwrite)


def give(
    recorder: Recorder,
    run_id: Any,
    key: Any,
    thumb: Any,
    comment: Any,
    score: Any,
    label: Any,
    overwrite: Any,
) -> None:
    """Write one feedback record; raises UsageError naming the argument that is wrong."""
    if (run_id is None) == (key is None):
        raise UsageError("feedback() needs either a run id or key=: give exactly one of them")
    if run_id is not None and not is_run_id(run_id):
        raise UsageError(f"feedback(run_id={shown(run_id)}): must be a run's id, a UUID of 36 characters")
    if key is not None and (not isinstance(key, str) or not key):
        raise UsageError(f"feedback(key={shown(key)}): must be a string that is not empty")
    if not isinstance(overwrite, bool):
        raise UsageError(f"feedback(overwrite={shown(overwrite)}): must be True or False")
    given, wrong = _given(recorder, thumb, comment, score, label)
    if wrong and (recorder.strict or not given):
        raise wrong[0]
    for error in wrong:
        problem(recorder, "wrong_argument", f"{error}; the rest of this feedback is kept")
    if not given:
        raise UsageError("feedback() says nothing: give thumb=, comment=, score= or label=")
    whom = f'"runId":{json_text(run_id)}' if key is None else _by_key(recorder, json_text(key))
    now_ns = recorder.clock.now_ns()
    more = ',"overwrite":true' if overwrite else ""
    recorder.append(
        f'{{"event":"feedback","eventId":"{recorder.ids.new(now_ns)}","timestamp":"{iso(now_ns)}",{whom},'
        f'"feedback":{{{",".join(given)}}}{more}}}'.encode()
    )


def _by_key(recorder: Recorder, key: str) -> str:
    """The key, and the run's id where it was opened here: Lunary and its like know no keys."""
    run_id = recorder.keyed_runs.find(key)
    return f'"key":{key}' if run_id is None else f'"runId":"{run_id}","key":{key}'


def _given(
    recorder: Recorder, thumb: Any, comment: Any, score: Any, label: Any
) -> tuple[list[str], list[UsageError]]:  # fmt: skip
    """The members of the feedback object, and what is wrong. A comment is content; the rest are marks."""
    given: list[str] = []
    wrong: list[UsageError] = []
    if thumb is None:
        given.append('"thumb":null')
    elif type(thumb) is str and thumb in ("up", "down"):
        given.append(f'"thumb":"{thumb}"')
    elif thumb is not MISSING:
        wrong.append(UsageError(f"feedback(thumb={shown(thumb)}): must be 'up', 'down' or None"))
    if isinstance(comment, str):
        text = recorder.encoder.snapshot(comment, ("comment",)).decode() if recorder.capture_content else '""'
        given.append(f'"comment":{text}')
    elif comment is not None:
        wrong.append(UsageError(f"feedback(comment={shown(comment)}): must be a string"))
    if _is_finite(score):
        given.append(f'"score":{float(score)!r}' if isinstance(score, float) else f'"score":{int(score)}')
    elif score is not None:
        wrong.append(UsageError(f"feedback(score={shown(score)}): must be a finite number"))
    if isinstance(label, str):
        given.append(f'"label":{json_text(label)}')
    elif label is not None:
        wrong.append(UsageError(f"feedback(label={shown(label)}): must be a string"))
    return given, wrong


def _is_finite(score: Any) -> bool:
    return not isinstance(score, bool) and isinstance(score, (int, float)) and math.isfinite(score)
