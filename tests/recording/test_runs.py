"""What a run says: records, ends, late values, errors, parents, feedback, chats, actions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from spanloom import records
from spanloom.errors import UsageError
from spanloom.recording.blocks import context
from spanloom.recording.conversation import thread
from spanloom.recording.decorators import agent, chain, llm, start, tool, traced
from spanloom.recording.feedback import feedback
from spanloom.recording.propagation import extract, inject
from spanloom.recording.run import current_run
from spanloom.recording.usage import action, outcome


def test_records_are_what_the_vocabulary_says(recorded: Any) -> None:
    """What compose renders by joining bytes is what `records.encode` would say: it decodes, and nothing is lost."""
    with context(user='u"1', user_props={"p": 1}, thread="t\n", tags=["a"], metadata={"m": [1]}, customer="c", key="k"):
        with llm("gpt-4ö", input=[1], params={"t": 0}, tags=["b"], metadata={"n": None}, template_version_id=7) as run:
            run.set(usage={"input": 1, "output": 2, "cached_input": 3, "reasoning": 4, "total": 5})
            run.set(model="m", cost=0.5, response_id="r", output={"o": 1}, extra={"e": 1}, metadata={"late": True})
            run.event("retry", attempt=2)
        run.feedback(thumb="down", comment="no", score=0.5, label="l", overwrite=True)
        action("a", properties={"x": 1}, labels={"y": "z"}, value=2.5)
    for payload in recorded.payloads:
        record = records.decode(payload)
        assert payload.startswith(b'{"event":"')
        assert records.decode(records.encode(record)) == record
    start_record, end = recorded.starts[0], recorded.ends[0]
    assert (start_record.user_id, start_record.thread_id, start_record.key) == ('u"1', "t\n", "k")
    assert (start_record.name, start_record.template_version_id, start_record.tags) == ("gpt-4ö", 7, ["a", "b"])
    assert recorded.value(start_record.metadata) == {"m": [1], "n": None} and recorded.value(start_record.params) == {
        "t": 0
    }
    assert end.tokens_usage == records.TokenUsage(1, 2, 3, 4, 5)
    assert (end.model, end.cost, end.response_id, end.key, end.customer) == ("m", 0.5, "r", "k", "c")
    assert recorded.value(end.metadata) == {"late": True} and recorded.value(end.extra) == {"e": 1}
    assert end.started_at == start_record.timestamp and start_record.event_id == run.id + ".s"
    (point,) = recorded.of(records.RunPoint)
    assert point.label == "retry" and recorded.value(point.data) == {"attempt": 2}
    updates = recorded.of(records.RunUpdate)
    assert [update.event_id for update in updates] == [f"{run.id}.u1", f"{run.id}.u2"]
    assert updates[0].tokens_usage.prompt == 1 and updates[1].model == "m"
    (given,) = recorded.of(records.Feedback)
    assert given.overwrite and recorded.value(given.feedback) == {
        "thumb": "down",
        "comment": "no",
        "score": 0.5,
        "label": "l",
    }
    (done,) = recorded.of(records.Action)
    assert (done.customer, done.value, done.user_id) == ("c", 2.5, 'u"1') and recorded.value(done.properties) == {
        "x": 1
    }


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [(KeyboardInterrupt, "error", "KeyboardInterrupt"), (SystemExit, "error", "SystemExit"),
     (asyncio.CancelledError, "cancelled", "asyncio.exceptions.CancelledError"), (GeneratorExit, "abandoned", None),
     (ValueError, "error", "ValueError")],
)  # fmt: skip
def test_every_way_to_leave(recorded: Any, kind: Any, status: str, name: str | None) -> None:
    """Runs left by KeyboardInterrupt, SystemExit, CancelledError, GeneratorExit or an error end once, and say so."""

    @tool
    def leave() -> None:
        raise kind("why")

    with pytest.raises(kind) as caught, agent("outer"):
        leave()
    assert str(caught.value) == "why"
    assert [end.status for end in recorded.ends] == [status, status]
    error = recorded.end("leave").error
    assert (error.type if error else None) == name
    if error and status == "error":
        assert error.message == "why" and error.stack.count("File ") == 1 and "in leave" in error.stack


def test_exceptions_of_every_kind(recorded: Any) -> None:
    """C15: an exception whose __str__ raises, cause cycles, and long tracebacks reach the host and are bounded."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        else:
            raise ValueError("deep")

    @tool
    def mute() -> None:
        raise Mute

    @tool
    def circle() -> None:
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one

    @tool
    def long() -> None:
        deep(300)

    for function, kind in ((mute, Mute), (circle, ValueError), (long, ValueError)):
        with pytest.raises(kind):
            function()
    assert recorded.end("mute").error.message == "<unprintable Mute: RuntimeError>"
    assert "two" in recorded.end("circle").error.stack
    assert recorded.end("long").error.stack.count("\n") < 70 and "frames …" in recorded.end("long").error.stack
    assert recorded.rejected == []


def test_str_that_interrupts(recorded: Any) -> None:
    """C01: a KeyboardInterrupt raised by the exception's own __str__ is the host's, after the run has ended."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    @tool
    def rude() -> None:
        raise Rude

    with pytest.raises(KeyboardInterrupt):
        rude()
    assert recorded.end("rude").status == "error"


def test_expected_exceptions(recorded: Any) -> None:
    """`ignore` names exceptions that are no errors: status ok, the exception named in the metadata."""

    @tool(ignore=(LookupError,))
    def find() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        find()
    end = recorded.end("find")
    assert (
        end.status == "ok" and end.error is None and recorded.value(end.metadata) == {"ignored_exception": "KeyError"}
    )


def test_ends_once(recorded: Any) -> None:
    """C17: of many ends one is recorded; later ones, and things said after the end, are counted."""
    run = start("agent", "a")
    threads = [threading.Thread(target=run.end, args=(n,)) for n in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    run.set(output=1)
    run.event("x")
    run.fail("late")
    assert len(recorded.ends) == 1 and recorded.rejected == ["run_ended"] * 18


def test_by_hand(recorded: Any) -> None:
    """`start`, `end`, `fail`; a run left by its block may still be given an output."""
    one = start("llm", name="m", input="i", parent=None, params={"t": 1})
    one.end(output="o", usage={"input": 3})
    two = start("tool", name="t", parent=one)
    two.fail(ValueError("bad"))
    three = start("chain")
    three.fail("in words")
    four = start("agent", "four")
    with four:
        pass
    four.end(output="after")
    assert recorded.output("m") == "o" and recorded.end("m").tokens_usage.prompt == 3
    assert recorded.end("t").parent_run_id == one.id and recorded.end("t").error.type == "ValueError"
    assert recorded.end("chain").error.message == "in words"
    assert [bytes(e.output) if e.output else b"" for e in recorded.ends if e.name == "four"] == [b"", b'"after"']
    assert recorded.rejected == []


def test_what_was_set_by_hand_is_meant(recorded: Any) -> None:
    """An output that was set inside a decorated function stands; mutation after the call changes nothing."""
    box = {"n": 1}

    @tool
    def sets(given: dict[str, int]) -> str:
        current_run().set(output={"mine": True})
        given["n"] = 2
        return "returned"

    sets(box)
    assert recorded.output("sets") == {"mine": True} and recorded.input("sets") == {"given": {"n": 1}}


def test_inputs_by_kind(recorded: Any) -> None:
    """Decision 18: a sole argument's value; mappings for tools and several arguments; defaults; names to keep."""

    @agent
    def one(q: str) -> None: ...

    @agent
    def two(q: str, k: int = 5) -> None: ...

    @agent
    def none() -> None: ...

    @tool(capture_input=["city"])
    def some(city: str, key: str = "k") -> None: ...

    @tool(capture_input=False, capture_output=False)
    def nothing(x: int) -> int:
        return x

    @chain
    def many(*args: int, flag: bool = True, **more: int) -> None: ...

    one("q")
    one(q="p")
    two("q")
    none()
    some("Rome")
    nothing(1)
    many(1, 2, x=3)
    found = [recorded.value(s.input) if s.input else None for s in recorded.starts]
    assert found == ["q", "p", {"q": "q", "k": 5}, None, {"city": "Rome"}, None,
                     {"args": [1, 2], "more": {"x": 3}, "flag": True}]  # fmt: skip
    assert not recorded.end("nothing").output and recorded.value(recorded.end("none").output) is None


def test_a_secret_by_its_name_alone(recorded: Any) -> None:
    """A sole argument whose name says that it is a secret is redacted by that name."""

    @agent
    def log_in(password: str) -> None: ...

    log_in("hunter2 and more")
    assert b"hunter2" not in b"".join(recorded.payloads) and "password" in recorded.input("log_in")


def test_hooks_fail_closed(recorded: Any) -> None:
    """C16: process_input and process_output that raise are counted, the raw value is never sent; inside them nothing
    is recorded."""

    @tool
    def nested(x: int) -> int:
        return x

    @tool(process_input=lambda value: 1 / 0, process_output=lambda value: {}["x"])
    def raw(x: str) -> str:
        return "secret out"

    @tool(process_input=lambda value: nested(9), process_output=len)
    def made(x: str) -> str:
        return "four"

    assert raw("secret in") == "secret out" and made("x") == "four"
    assert recorded.input("raw") == "[process_input failed]" and recorded.output("raw") == "[process_output failed]"
    assert recorded.input("made") == 9 and recorded.output("made") == 4
    assert recorded.rejected == ["process_input_failed", "process_output_failed"]
    assert not [s for s in recorded.starts if s.name == "nested"]


def test_parents_from_elsewhere(recorded: Any) -> None:
    """`parent=` takes a run, a run id (same trace unknown, parent known), or a traceparent."""
    with agent("outer") as outer, tool("inner") as inner:
        pass
    given = {
        "by run": outer,
        "by id": outer.id,
        "by header": outer.traceparent,
        "deep": inner.traceparent,
        "host": HOST,
    }
    for name, parent in given.items():
        start("tool", name, parent=parent).end()
    by_run, by_id, by_header, deep, host = (recorded.start(name) for name in given)
    assert (by_run.parent_run_id, by_run.root_run_id) == (outer.id, outer.id)
    assert (by_id.parent_run_id, by_id.root_run_id) == (outer.id, None)
    assert (by_header.parent_run_id, by_header.root_run_id) == (outer.id, outer.id)
    assert (deep.trace_id, deep.parent_span_id) == (outer.id.replace("-", ""), inner.id.replace("-", "")[16:])
    assert host.trace_id == HOST[3:35] and host.parent_span_id == HOST[36:52] and host.parent_run_id is None


HOST = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_inject_and_extract(recorded: Any) -> None:
    """A trace goes on through headers with both ids in full, beside what was in them; user and thread as baggage."""
    headers = {"tracestate": "other=1", "baggage": "mine=2"}
    with context(user="ü\r\nX: 1", thread="t"), agent("client") as client, tool("deeper") as deeper:
        inject(headers)
    assert headers["tracestate"].endswith(",other=1") and headers["baggage"].endswith(",mine=2")
    assert "\r" not in "".join(headers.values()) and headers["traceparent"] == deeper.traceparent
    raw = [(name.upper().encode(), value.encode()) for name, value in headers.items()]
    with extract(raw), agent("server"):
        again: dict[str, str] = {}
        inject(again)
        assert current_run().parent_id == deeper.id != client.id
    server = recorded.start("server")
    assert (server.parent_run_id, server.root_run_id) == (deeper.id, client.id)
    assert (server.user_id, server.thread_id, server.trace_id) == ("ü\r\nX: 1", "t", None)
    assert again["traceparent"].split("-")[1] == headers["traceparent"].split("-")[1]
    with extract({"traceparent": HOST}):
        assert not current_run()
        with agent("hosted") as hosted:
            assert hosted.traceparent.split("-")[1] == HOST.split("-")[1]
    with extract({"traceparent": "garbage" * 9999, "baggage": ";;=,=" * 5000}), agent("alone") as alone:
        assert alone.parent_id is None
    assert recorded.rejected == []


def test_conversations(recorded: Any) -> None:
    """User's message, answer and feedback share one run id; the thread is the parent; children hang on the chat."""

    @agent
    def answer(q: str) -> str:
        return "sunny"

    talk = thread("thread-1")
    with talk.chat("weather?") as chat:
        assert current_run() is chat
        chat.reply(answer("weather?"))
    chat.feedback(thumb="up", comment="Great")
    first, second = recorded.of(records.Chat)
    assert first.run_id == second.run_id == chat.id and first.parent_run_id == second.parent_run_id == "thread-1"
    assert recorded.value(first.message) == {"role": "user", "content": "weather?"}
    assert recorded.value(second.message) == {"role": "assistant", "content": "sunny"}
    run = recorded.start("answer")
    assert (run.parent_run_id, run.root_run_id, run.thread_id) == (chat.id, chat.id, "thread-1")
    assert recorded.of(records.Feedback)[0].run_id == chat.id and [e.type for e in recorded.ends] == ["agent"]
    assert thread().id and thread().id != thread().id
    with pytest.raises(KeyError), talk.chat({"role": "user", "content": "x"}):
        raise KeyError("lost")
    assert [(e.type, e.status) for e in recorded.ends][1:] == [("chat", "error")] and not current_run()


def test_feedback_and_usage_arguments(install: Any) -> None:
    """Wrong arguments: UsageError naming value and cure when strict; else one count each and no exception."""
    wrong: list[Any] = [
        lambda: feedback("no-uuid", thumb="up"),
        lambda: feedback(ID, thumb="sideways"),
        lambda: feedback(ID),
        lambda: feedback(ID, key="k", thumb="up"),
        lambda: feedback(ID, score=float("nan")),
        lambda: feedback(thumb="up"),
        lambda: feedback(ID, thmub="up"),  # type: ignore[call-arg]
        lambda: action(""),
        lambda: action("a", value="x"),  # type: ignore[arg-type]
        lambda: action("a", at="yesterday"),
        lambda: outcome("o", properties=[1]),  # type: ignore[arg-type]
        lambda: outcome("o", run="no-uuid"),
        lambda: start("banana"),
        lambda: start("llm", parent=5),
        lambda: start("llm", bogus=1),
        lambda: start("llm").set(usage={"input": -1}),
        lambda: start("llm").set(usage={"inptu": 1}),
        lambda: start("llm").set(cost="free"),  # type: ignore[arg-type]
        lambda: start("llm").set(nonsense=1),  # type: ignore[call-arg]
        lambda: start("llm").fail(5),  # type: ignore[arg-type]
        lambda: context(user=5),  # type: ignore[arg-type]
        lambda: context(bogus=5),  # type: ignore[call-arg]
        lambda: thread(5),  # type: ignore[arg-type]
        lambda: tool(tags=5),  # type: ignore[call-overload]
        lambda: inject(5),  # type: ignore[arg-type]
    ]
    install(strict=True)
    for call in wrong:
        with pytest.raises(UsageError) as caught:
            call()
        assert len(str(caught.value)) > 10 and "spanloom" not in type(caught.value).__name__
    recorded = install()
    for number, call in enumerate(wrong, 1):
        call()
        assert recorded.rejected == ["wrong_argument"] * number


ID = "01a1fc35-d563-75d7-8204-4797c5ef7511"


def test_good_neighbours_of_a_wrong_value_count(recorded: Any) -> None:
    """One wrong value of `set`, or one wrong option, costs only itself."""
    with llm("m", tags=5, params={"t": 1}) as run:  # type: ignore[call-overload]
        run.set(output="o", usage={"input": -1}, model="m2")
    assert recorded.output("m") == "o" and recorded.end("m").model == "m2" and recorded.end("m").tokens_usage is None
    assert recorded.value(recorded.start("m").params) == {"t": 1}
    assert recorded.rejected == ["wrong_argument"] * 2


def test_a_good_thumb_outlives_the_wrong_score_beside_it(install: Any, caplog: Any) -> None:
    """Feedback keeps what is right of it; each value that is wrong is counted, and said with value and cure. Strict
    still raises, and keeps nothing."""
    recorded = install()
    feedback(ID, thumb="up", comment="Bought it", score="high", label=3)  # type: ignore[arg-type]
    feedback(ID, thumb="sideways", score=0.5)  # type: ignore[arg-type]
    kept = [recorded.value(given.feedback) for given in recorded.of(records.Feedback)]
    assert kept == [{"thumb": "up", "comment": "Bought it"}, {"score": 0.5}]
    assert recorded.rejected == ["wrong_argument"] * 3
    assert "score='high'" in caplog.text and "the rest of this feedback is kept" in caplog.text
    strict = install(strict=True)
    with pytest.raises(UsageError, match="score='high'"):
        feedback(ID, thumb="up", score="high")  # type: ignore[arg-type]
    assert not strict.of(records.Feedback)


def test_an_argument_of_another_name_is_answered_with_those_there_are(recorded: Any, caplog: Any) -> None:
    """`run.set(tokens=5)`: the line names the wrong one, and what can be set."""
    with llm("m") as run:
        run.set(tokens=5)  # type: ignore[call-arg]
    assert "unexpected keyword argument 'tokens': use one of output, usage, model" in caplog.text


def test_a_root_is_known_in_full_from_its_traceparent_alone(recorded: Any) -> None:
    """`parent=` with a root's traceparent: the child has its parent's and root's id at once; a stranger's has none."""
    with agent("root") as root:
        pass
    with tool("child", parent=root.traceparent) as child:
        pass
    assert (child.parent_id, child.root_id) == (root.id, root.id)
    assert child.traceparent.split("-")[1] == root.traceparent.split("-")[1]
    with tool("other", parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") as other:
        pass
    assert other.parent_id is None and other.id == other.root_id


def test_one_log_line_a_minute(recorded: Any, caplog: Any) -> None:
    """C41: what is counted is said once a minute, and the line names value and cure."""
    for _ in range(5):
        feedback("no-uuid", thumb="up")
    (line,) = caplog.messages
    assert "no-uuid" in line and "UUID" in line and len(recorded.rejected) == 5


def test_decorated_calls_never_raise_ours(install: Any) -> None:
    """Decision 24: whatever breaks in us, decorated code runs as if undecorated, strict or not, and it is counted."""

    class Broken:
        def snapshot(self, value: Any, path: Any = ()) -> bytes:
            raise RuntimeError("encoder is gone")

    from spanloom.recording import recorder as recording

    class Counting:
        def __init__(self) -> None:
            self.rejected: list[str] = []

        def append(self, payload: bytes) -> None:
            raise OSError("sink is gone")

        def reject(self, reason: str) -> None:
            self.rejected.append(reason)

    install()
    counting = Counting()
    recording.install(recording.Recorder(counting, Broken(), strict=True))

    @tool
    def work(x: int) -> int:
        return x

    @tool
    def stream() -> Any:
        yield 1

    assert work(1) == 1 and list(stream()) == [1] and traced(work, 2)[0] == 2
    with agent("a", input=1) as run:
        run.set(output=1)
    assert set(counting.rejected) <= {"start_failed", "end_failed"} and counting.rejected


def test_at_the_recursion_limit(recorded: Any) -> None:
    """C04: a decorated call at the host's recursion limit raises the host's RecursionError and nothing of ours."""

    @tool
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    with pytest.raises(RecursionError):
        down(sys.getrecursionlimit() * 2)
    assert down(3) == 3 and not current_run()


def test_no_content_at_all(install: Any) -> None:
    """C97: with capture_content=False no input, output, message, metadata, params or error text is recorded."""
    recorded = install(capture_content=False)
    canary = "canary-content"

    @tool(metadata={"m": canary}, params={"p": canary})
    def fails(x: str) -> None:
        current_run().set(output=canary, metadata={"x": canary}, extra={"e": canary}, usage={"input": 5})
        current_run().event("moment", data=canary)
        raise ValueError(canary)

    @llm(reduce=lambda items: current_run().set(usage={"output": 3}))
    def stream() -> Any:
        yield canary

    with context(metadata={"a": canary}, user_props={"u": canary}, user="u"):
        with pytest.raises(ValueError):
            fails(canary)
        list(stream())
        with thread("t").chat(canary) as chat:
            chat.reply({"role": "assistant", "content": canary})
        chat.feedback(thumb="up", comment=canary)
    assert canary.encode() not in b"".join(recorded.payloads)
    end = recorded.end("fails")
    assert (end.status, end.error.type, end.error.message, end.error.stack) == ("error", "ValueError", "", None)
    assert end.tokens_usage.prompt == 5 and recorded.end("stream").tokens_usage.completion == 3
    assert [record.user_id for record in recorded.starts] == ["u", "u"] and len(recorded.of(records.Chat)) == 2


def test_sampling(install: Any) -> None:
    """Decision 23: an unsampled trace keeps its end records, marked, with usage and without content; usage events and
    feedback are always kept; a remote decision holds."""
    recorded = install(sample=0.0)

    @llm
    def call(x: str) -> str:
        current_run().set(usage={"input": 5})
        return x

    with agent("outer") as outer:
        call("content-canary")
        action("done", customer="c")
        outer.feedback(thumb="up")
    assert not recorded.starts and b"content-canary" not in b"".join(recorded.payloads)
    assert [end.sampled for end in recorded.ends] == [False, False] and recorded.end("call").tokens_usage.prompt == 5
    assert recorded.of(records.Action) and recorded.of(records.Feedback) and outer.traceparent.endswith("-00")
    headers: dict[str, str] = {}
    with agent("o"):
        inject(headers)
    everything = install()
    with extract(headers), agent("server"):
        pass
    assert not everything.starts and len(everything.ends) == 1
    half = install(sample=0.5)
    for _ in range(400):
        agent("x")(lambda: None)()
    assert 120 < len(half.starts) < 280 and len(half.ends) == 400


def test_forked_children(recorded: Any) -> None:
    """C25: a run that a child process inherits is ended by its opener alone; the child's own runs hang on it."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    script = """
import os, sys
from spanloom.encoder import Encoder
from spanloom.recording import recorder as r
from spanloom.recording.decorators import agent, tool
read, write = os.pipe()
class Sink:
    def append(self, payload): os.write(write, payload + b"\\n")
    def reject(self, reason): os.write(write, b"rejected\\n")
r.install(r.Recorder(Sink(), Encoder()))
@tool
def inner(): return os.getpid()
@agent
def outer():
    pid = os.fork()
    inner()
    return pid
pid = outer()
if pid == 0: os._exit(0)
os.waitpid(pid, 0)
os.close(write)
sys.stdout.buffer.write(os.fdopen(read, "rb").read())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    found = [records.decode(line) for line in done.stdout.splitlines()]
    assert done.stderr == b"" or b"DeprecationWarning" in done.stderr
    outers = [record for record in found if record.name == "outer"]  # type: ignore[union-attr]
    inners = [record for record in found if record.name == "inner"]  # type: ignore[union-attr]
    assert [type(record) for record in outers] == [records.RunStart, records.RunEnd]
    assert len(inners) == 4 and len({record.run_id for record in inners}) == 2  # type: ignore[union-attr]
    assert {record.parent_run_id for record in inners} == {outers[0].run_id}  # type: ignore[union-attr]


def test_timestamps_never_run_backwards(recorded: Any) -> None:
    """Decision 19: starts, ends and points of a trace are in order, whatever the wall clock does."""

    @tool
    def leaf() -> None: ...

    with agent("a") as run:
        for _ in range(50):
            leaf()
            run.event("x")
    stamps = [record.timestamp for record in recorded.all]
    assert stamps == sorted(stamps)


def test_moments_of_actions(recorded: Any) -> None:
    """`at` takes a datetime in any zone, seconds, or ISO 8601; the key is made once, or is the caller's."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    for moment in (at, at.timestamp(), "2026-01-02T03:04:05+02:00"):
        assert outcome("won", customer="c", at=moment, idempotency_key="k") == "k"
    assert {record.timestamp for record in recorded.all} == {"2026-01-02T01:04:05.000000Z"}
    with agent("a") as run:
        key = action("did", customer="c")
    made = recorded.of(records.Action)[0]
    assert made.idempotency_key == key and (made.run_id, made.root_run_id) == (run.id, run.id)


def test_no_run_keeps_its_children(recorded: Any) -> None:
    """C48: ended runs are gone from memory though their root still runs."""
    import gc
    import weakref

    refs = []

    @tool
    def leaf() -> None:
        refs.append(weakref.ref(current_run()))

    with agent("root"):
        for _ in range(100):
            leaf()
        gc.collect()
        assert all(ref() is None for ref in refs)


def test_emitting_from_signals_and_finalisers(recorded: Any) -> None:
    """C39, C40: decorated calls from a signal handler and from __del__ end in order, and nothing hangs."""
    import gc
    import signal
    import time

    @tool
    def leaf() -> None: ...

    class Dying:
        def __del__(self) -> None:
            leaf()

    if not hasattr(signal, "setitimer"):
        pytest.skip("no interval timer here")
    before = signal.signal(signal.SIGALRM, lambda *_: leaf())
    threshold = gc.get_threshold()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        gc.set_threshold(1)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with agent("loop"):
                circle: list[Any] = [Dying()]
                circle.append(circle)
                leaf()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.set_threshold(*threshold)
    del circle
    gc.collect()
    assert not current_run() and recorded.rejected == []
    assert {record.run_id for record in recorded.starts} == {record.run_id for record in recorded.ends}
    assert len(recorded.ends) == len(recorded.starts) > 20


def test_hostile_objects_anywhere(recorded: Any) -> None:
    """C01, C12: objects whose every dunder raises, also what is no Exception, pass through as the very same object."""

    class Evil:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            raise KeyboardInterrupt

        __str__ = __iter__ = __len__ = __bool__ = __repr__  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise SystemExit

        __hash__ = None  # type: ignore[assignment]

    evil: Any = Evil()

    @tool(reduce=list)
    def same(x: Any) -> Any:
        return x

    assert same(evil) is evil
    with llm("m", input=evil, params={"p": evil}, metadata={"m": evil}) as run:
        run.set(output=evil, extra={"e": evil}, metadata={"m": evil})
        run.event("moment", e=evil)
    with thread("t").chat(evil) as chat:
        chat.reply(evil)
    action("a", properties={"e": evil})
    assert recorded.rejected == [] and len(recorded.of(records.Chat)) == 2 and len(recorded.ends) == 2
    for call in (
        lambda: start(evil),
        lambda: tool(evil),
        lambda: feedback(ID, thumb=evil),
        lambda: feedback(evil),
        lambda: chat.feedback(comment=evil),
        lambda: start("llm", parent=evil, tags=evil, ignore=evil),
        lambda: run.fail(evil),
        lambda: inject(evil),
        lambda: extract(evil),
        lambda: context(user=evil, tags=evil),
        lambda: thread(evil),
        lambda: outcome("o", at=evil),
    ):
        call()
    assert set(recorded.rejected) == {"wrong_argument", "run_ended"} - {"run_ended"}
