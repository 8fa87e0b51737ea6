"""What a stream has yielded, kept within bounds until its run ends.

Promises: text is joined before it is encoded, so that a secret cut in two by the stream is still seen whole; other
items are snapshots of the moment they were yielded. At most 10,000 items or 1 MiB of text are kept; the count goes on.
With ``reduce`` or ``process_output`` the first 10,000 items are kept as they are, and the last (which carries the usage
of most providers). Must never: consume, close or await the host's stream.
"""

from __future__ import annotations

from typing import Any

from .ambient import current_var, set_current
from .closing import close, close_failed
from .edge import failed
from .late import MISSING
from .plan import Plan, output_content
from .run import Run

MAX_ITEMS = 10_000
MAX_TEXT_CHARACTERS = 1 << 20
MAX_ENCODED_BYTES = 1 << 20


def is_stream(value: Any) -> bool:
    """Whether a result is an iterator, sync or async, that the host is going to consume."""
    kind = type(value)
    return (
        hasattr(kind, "__next__")
        or hasattr(kind, "__anext__")
        or (hasattr(kind, "__aiter__") and not isinstance(value, (str, bytes, list, tuple, dict, set)))
    )


class Tally:
    """Collects the items of one stream and ends its run, once, with what came."""

    __slots__ = (
        "_characters", "_encoded", "_encoded_bytes", "_first_item_at", "_keeps", "_kept", "_last", "_raw", "_texts",
        "count", "plan", "run",
    )  # fmt: skip

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan = plan
        self.run = run
        self.count = 0
        self._first_item_at = ""
        self._keeps = plan.keeps_output and run._recorder.capture_content and run._trace.sampled
        self._raw = plan.options.reduce is not None or plan.process_output is not None
        self._kept: list[Any] = []  # the items themselves, for the user's functions
        self._last: Any = MISSING
        self._texts: list[str] | None = []  # while every item was a str
        self._characters = 0
        self._encoded: list[bytes] = []
        self._encoded_bytes = 0

    def add(self, item: Any) -> None:
        """One item came."""
        try:
            self.count += 1
            if self.count == 1:
                self._first_item_at = self.run.now()
            if self._raw:
                if len(self._kept) < MAX_ITEMS:
                    self._kept.append(item)
                else:
                    self._last = item
            elif self._keeps:
                self._keep(item)
        except Exception as error:
            failed("stream_item_failed", error)

    def _keep(self, item: Any) -> None:
        texts = self._texts
        if texts is not None:
            if type(item) is str:
                if self._characters < MAX_TEXT_CHARACTERS:
                    texts.append(item)
                    self._characters += len(item)
                return
            self._texts = None
            if texts:
                for text in texts:
                    self._encode(text)
        self._encode(item)

    def _encode(self, item: Any) -> None:
        if len(self._encoded) < MAX_ITEMS and self._encoded_bytes < MAX_ENCODED_BYTES:
            encoded = bytes(memoryview(self.run._recorder.encoder.snapshot(item, ("output", len(self._encoded)))))
            self._encoded.append(encoded)
            self._encoded_bytes += len(encoded)

    def end(self, error: BaseException | None = None) -> None:
        """The stream is over: exhausted, or by ``error`` (GeneratorExit: abandoned)."""
        try:
            run = self.run
            if not hasattr(run, "_live"):
                return
            output = self._output(run, error)
            members = f',"items":{self.count}'
            if self._first_item_at:
                members += f',"firstItemAt":"{self._first_item_at}"'
            if error is None:
                close(run, "ok", output, members)
                return
            if output is not None:
                members += ',"output":' + output.decode()
            close_failed(run, error, self.plan.ignore, members)
        except Exception as inner:
            failed("end_failed", inner)

    def _output(self, run: Run, error: BaseException | None) -> bytes | None:
        recorder = run._recorder
        if self._raw:
            value, worked = self._reduced(run)
            if not self._keeps:
                return None
            return output_content(self.plan, recorder, value) if worked else b'"[reduce failed]"'
        if not self._keeps or (error is not None and not self.count):
            return None
        if self._texts is not None and self.count:
            text = "".join(self._texts)
            if self._characters >= MAX_TEXT_CHARACTERS:
                text += f"… [{self.count} items in all]"
            return recorder.encoder.snapshot(text, ("output",))
        items = self._encoded
        if self.count > len(items):
            items = [*items, f'"… {self.count - len(items)} more items"'.encode()]
        return b"[" + b",".join(items) + b"]"

    def _reduced(self, run: Run) -> tuple[Any, bool]:
        """The items as one value, by the user's ``reduce`` if there is one. The run is current meanwhile, so that
        ``reduce`` can say ``current_run().set(usage=...)``."""
        kept, self._kept = self._kept, []
        if self._last is not MISSING:
            kept.append(self._last)
            self._last = MISSING
        reduce = self.plan.options.reduce
        if reduce is None:
            return ("".join(kept) if kept and all(type(item) is str for item in kept) else kept), True
        previous = current_var.get()
        set_current(run)
        try:
            return reduce(kept), True
        except Exception as error:
            failed("reduce_failed", error)
            return None, False
        finally:
            set_current(previous)
