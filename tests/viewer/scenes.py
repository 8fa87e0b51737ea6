# ruff: noqa: E501 - a run reads best on one line
"""What the pages are shown with: a few days in the life of a support team's agents, always the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Raw

from spanloom.clock import Ids, iso
from spanloom.records import (
    Chat,
    ErrorInfo,
    Feedback,
    LossReport,
    Outcome,
    RunEnd,
    RunPoint,
    RunStart,
    TokenUsage,
)
from spanloom.store import Incoming, Store

MS = 1_000_000
SECOND = 1000 * MS

STACK = """Traceback (most recent call last):
  File "/srv/agents/research.py", line 48, in answer
    plan = await self.planner.run(question, tools=self.tools)
  File "/srv/agents/planner.py", line 112, in run
    return json.loads(call.arguments)
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column 58 (char 57)"""

QUESTION = "Which of our suppliers can deliver 40 pallets to Rotterdam before Friday?"


def raw(value: Any) -> Raw:
    """A value as the JSON that a record carries."""
    return Raw(json.dumps(value, ensure_ascii=False).encode())


class Scene:
    """Makes records of runs; ``at_ns`` is the moment that the next run starts at."""

    def __init__(self, now_ns: int, seed: int = 7) -> None:
        self.now_ns = now_ns
        self.ids = Ids(seed)
        self.chance = random.Random(seed)
        self.records: list[Any] = []

    def run(
        self, kind: str, name: str, begin_ns: int, took_ns: int | None, *, parent: str | None = None,
        root: str | None = None, input: Any = None, output: Any = None, tokens: tuple[int, int] | None = None,
        model: str | None = None, cost: float | None = None, error: ErrorInfo | None = None, status: str | None = None,
        first_ns: int | None = None, run_id: str | None = None, **shared: Any,
    ) -> str:  # fmt: skip
        """One run with its start and, unless it is still running (``took_ns`` None), its end; returns its id."""
        run_id = run_id or self.ids.new(begin_ns)
        who = {"user_id", "thread_id", "customer", "key", "service"}
        common = {
            "run_id": run_id, "type": kind, "name": name, "parent_run_id": parent, "root_run_id": root or run_id,
            **{field: value for field, value in shared.items() if field in who},
        }  # fmt: skip
        start = {field: shared[field] for field in ("tags",) if field in shared}
        start |= {field: raw(shared[field]) for field in ("metadata", "params", "user_props") if field in shared}
        self.records.append(
            RunStart(event_id=f"{run_id}.s", timestamp=iso(begin_ns), **common, **start,
                     **({} if input is None else {"input": raw(input)}))
        )  # fmt: skip
        if took_ns is not None:
            self.records.append(
                RunEnd(
                    event_id=f"{run_id}.e", timestamp=iso(begin_ns + took_ns), started_at=iso(begin_ns),
                    status=status or ("error" if error else "ok"), error=error, model=model, cost=cost,
                    first_item_at=None if first_ns is None else iso(begin_ns + first_ns),
                    tokens_usage=None if tokens is None else TokenUsage(prompt=tokens[0], completion=tokens[1]),
                    **common, **({} if output is None else {"output": raw(output)}),
                )
            )  # fmt: skip
        return run_id

    def batches(self, size: int = 500) -> Iterator[list[Incoming]]:
        """The records as the store takes them."""
        for at in range(0, len(self.records), size):
            yield [Incoming(record) for record in self.records[at : at + size]]


def failed_research(scene: Scene, begin: int) -> str:
    """An agent that failed: its planner's second model call wrote broken JSON."""
    error = ErrorInfo(
        message="Expecting ',' delimiter: line 1 column 58 (char 57)", stack=STACK, type="JSONDecodeError"
    )
    who: dict[str, Any] = {"user_id": "maria", "customer": "harbour-foods", "service": "supply-desk"}
    agent = scene.run(
        "agent", "supplier-research", begin, 8_420 * MS, input=QUESTION, error=error, tags=["prod", "procurement"],
        metadata={"region": "eu-west", "attempt": 1, "flags": {"parallel": True, "budget_usd": 0.25}}, **who,
    )  # fmt: skip
    ask = [
        {"role": "system", "content": "You find suppliers. Use the tools; answer with names and delivery dates."},
        {"role": "user", "content": QUESTION},
    ]
    first_call = {"role": "assistant", "content": "I will look for suppliers near Rotterdam first.", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "search_suppliers", "arguments": json.dumps({"city": "Rotterdam", "radius_km": 120})}},
        {"id": "call_2", "type": "function", "function": {"name": "freight_quotes", "arguments": json.dumps({"pallets": 40, "to": "Rotterdam"})}}]}  # fmt: skip
    scene.run("llm", "gpt-4o", begin + 60 * MS, 1_930 * MS, parent=agent, root=agent, input=ask, output=first_call,
              tokens=(412, 96), model="gpt-4o-2024-08-06", cost=0.00199, params={"temperature": 0, "max_tokens": 800}, first_ns=540 * MS)  # fmt: skip
    plan = scene.run("chain", "gather", begin + 2_010 * MS, 3_290 * MS, parent=agent, root=agent, input={"calls": 2})
    scene.run("tool", "search_suppliers", begin + 2_030 * MS, 1_120 * MS, parent=plan, root=agent,
              input={"city": "Rotterdam", "radius_km": 120},
              output=[{"name": "Maasvlakte Cold Storage", "distance_km": 31, "pallets_free": 64}, {"name": "Noordzee Logistics", "distance_km": 12, "pallets_free": 22}, {"name": "De Haven Groothandel", "distance_km": 88, "pallets_free": 140}])  # fmt: skip
    quotes = scene.run("tool", "freight_quotes", begin + 2_040 * MS, 3_240 * MS, parent=plan, root=agent,
                       input={"pallets": 40, "to": "Rotterdam"}, output={"quotes": [{"carrier": "A. Vos", "eur": 1180, "arrives": "Thursday"}, {"carrier": "Rijnmond", "eur": 990, "arrives": "Saturday"}]})  # fmt: skip
    scene.run("retriever", "contracts", begin + 2_100 * MS, 610 * MS, parent=quotes, root=agent,
              input="framework contract carriers Rotterdam", output=["contract-118.pdf#p4", "contract-203.pdf#p1"])  # fmt: skip
    scene.run("embed", "text-embedding-3-small", begin + 2_120 * MS, 180 * MS, parent=quotes, root=agent, tokens=(9, 0),
              model="text-embedding-3-small", input="framework contract carriers Rotterdam", cost=0.0000002)  # fmt: skip
    planner = scene.run("agent", "planner", begin + 5_330 * MS, 3_070 * MS, parent=agent, root=agent,
                        input="Compare 3 suppliers with 2 quotes", error=error)  # fmt: skip
    broken = '{"supplier": "Maasvlakte Cold Storage", "reason": "64 free" pallets, "arrives": "Thursday"}'
    scene.run("llm", "gpt-4o", begin + 5_350 * MS, 2_900 * MS, parent=planner, root=agent, first_ns=380 * MS,
              input=[*ask, first_call, {"role": "tool", "tool_call_id": "call_1", "content": json.dumps([{"name": "Maasvlakte Cold Storage"}])}, {"role": "user", "content": "Choose one. Answer as JSON."}],
              output={"role": "assistant", "content": broken}, tokens=(1_204, 61), model="gpt-4o-2024-08-06", cost=0.00362)  # fmt: skip
    parse = scene.run("tool", "parse_choice", begin + 8_270 * MS, 110 * MS, parent=planner, root=agent, input={"text": broken}, error=error)  # fmt: skip
    scene.records.append(RunPoint(event_id=f"{parse}.p1", timestamp=iso(begin + 8_300 * MS), run_id=parse, type="tool",
                                  root_run_id=agent, label="retry", data=raw({"attempt": 2, "strict": True})))  # fmt: skip
    return agent


def fine_research(scene: Scene, begin: int) -> str:
    """The same agent, an hour before: it worked."""
    agent = scene.run(
        "agent", "supplier-research", begin, 6_100 * MS, input="Who can store 12 pallets of frozen peas in Antwerp?",
        output="Antwerp Frigo has 18 free pallet places from Tuesday on, at 4.10 EUR a day each.", tags=["prod", "procurement"],
        user_id="jonas", customer="harbour-foods", service="supply-desk",
    )  # fmt: skip
    scene.run("llm", "gpt-4o", begin + 40 * MS, 2_200 * MS, parent=agent, root=agent, tokens=(398, 52), model="gpt-4o-2024-08-06", cost=0.0015,
              input=[{"role": "user", "content": "Who can store 12 pallets of frozen peas in Antwerp?"}], output={"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "search_suppliers", "arguments": '{"city": "Antwerp"}'}}]})  # fmt: skip
    scene.run("tool", "search_suppliers", begin + 2_260 * MS, 900 * MS, parent=agent, root=agent, input={"city": "Antwerp"},
              output=[{"name": "Antwerp Frigo", "pallets_free": 18}])  # fmt: skip
    scene.run("llm", "gpt-4o", begin + 3_180 * MS, 2_890 * MS, parent=agent, root=agent, tokens=(655, 44), model="gpt-4o-2024-08-06", cost=0.0021,
              output={"role": "assistant", "content": "Antwerp Frigo has 18 free pallet places."})  # fmt: skip
    scene.records.append(Feedback(event_id=f"{agent}.f", timestamp=iso(begin + 60 * SECOND), run_id=agent,
                                  feedback=raw({"thumb": "up", "comment": "Exactly what I needed, and fast"})))  # fmt: skip
    return agent


def conversation(scene: Scene, begin: int) -> str:
    """Three exchanges of one thread; the last answer was not liked."""
    thread = "delivery-with-ada"
    talk = [
        ("Where is order 4711?", "It left the warehouse this morning and arrives tomorrow before noon.", None),
        ("Can it come in the evening instead?", "Yes: between 18:00 and 20:00. Shall I change it?", {"thumb": "up"}),
        ("Yes please, and leave it with the neighbour", "I have changed the time. I could not add the neighbour.",
         {"thumb": "down", "comment": "The neighbour is what I asked for", "score": 0.2}),
    ]  # fmt: skip
    for number, (asked, answered, feedback) in enumerate(talk):
        at = begin + number * 70 * SECOND
        chat = scene.ids.new(at)
        who: dict[str, Any] = {"run_id": chat, "parent_run_id": thread, "thread_id": thread, "root_run_id": chat,
                               "user_id": "ada", "type": "chat"}  # fmt: skip
        scene.records.append(Chat(event_id=f"{chat}.u1", timestamp=iso(at), message=raw({"role": "user", "content": asked}), **who))  # fmt: skip
        agent = scene.run("agent", "order-desk", at + 10 * MS, 1_700 * MS, parent=chat, root=chat, input=asked, output=answered,
                          user_id="ada", thread_id=thread, customer="ada-home")  # fmt: skip
        scene.run("tool", "order_status", at + 30 * MS, 240 * MS, parent=agent, root=chat, input={"order": 4711}, output={"state": "on its way"},
                  user_id="ada", thread_id=thread)  # fmt: skip
        scene.run("llm", "claude-sonnet-4", at + 300 * MS, 1_390 * MS, parent=agent, root=chat, tokens=(220 + 90 * number, 38), model="claude-sonnet-4",
                  cost=0.0012, output={"role": "assistant", "content": answered}, first_ns=310 * MS, user_id="ada", thread_id=thread)  # fmt: skip
        scene.records.append(Chat(event_id=f"{chat}.u2", timestamp=iso(at + 1_720 * MS), message=raw({"role": "assistant", "content": answered}), **who))  # fmt: skip
        if feedback:
            scene.records.append(Feedback(event_id=f"{chat}.f", timestamp=iso(at + 5 * SECOND), run_id=chat, feedback=raw(feedback)))  # fmt: skip
    return thread


def ordinary(scene: Scene, begin: int, number: int) -> str:
    """One of many small traces of a day."""
    chance = scene.chance
    name, asked = chance.choice((
        ("ticket-triage", "The invoice has my old address on it"), ("ticket-triage", "The app closes when I open the basket"),
        ("summarise", "Summarise the call of this morning"), ("draft-reply", "Answer kindly that we are closed on Monday"),
        ("route-order", "Which warehouse ships to Lisbon?"),
    ))  # fmt: skip
    user, customer = chance.choice((("ada", "ada-home"), ("jonas", "harbour-foods"), ("maria", "harbour-foods"), ("li", "north-bikes"), ("sam", "north-bikes")))  # fmt: skip
    model, price = chance.choice((("gpt-4o-mini", 0.00016), ("gpt-4o", 0.0026), ("claude-sonnet-4", 0.0031)))
    took = int(chance.lognormvariate(0.5, 0.6) * 1000) * MS
    error = ErrorInfo(message="the model did not answer within 30 s", type="TimeoutError") if number % 11 == 7 else None
    who: dict[str, Any] = {"user_id": user, "customer": customer, "service": "support"}
    agent = scene.run("agent", name, begin, took + 40 * MS, input=asked, error=error, tags=["prod"],
                      output=None if error else "Done: " + asked.lower(), **who)  # fmt: skip
    tokens = (chance.randint(150, 1800), chance.randint(20, 300))
    scene.run("llm", model, begin + 20 * MS, took, parent=agent, root=agent, tokens=tokens, model=model, error=error,
              cost=round(price * sum(tokens) / 600, 6), input=[{"role": "user", "content": asked}],
              output=None if error else {"role": "assistant", "content": "Done."}, **who)  # fmt: skip
    if name == "ticket-triage" and not error:
        scene.records.append(
            Outcome(event_id=f"{agent}.o", timestamp=iso(begin + took), name="ticket_resolved",
                    idempotency_key=f"{agent}.o", customer=customer, value=1, run_id=agent)
        )  # fmt: skip
    return agent


def office(now_ns: int, days: int = 1) -> Scene:
    """The whole: ordinary traces over some days, the conversation, and newest of all the failed research."""
    scene = Scene(now_ns)
    for number in range(60 * days):
        ordinary(scene, now_ns - (60 * days - number) * 1430 * SECOND - 4000 * SECOND, number)
    fine_research(scene, now_ns - 3600 * SECOND)
    conversation(scene, now_ns - 1500 * SECOND)
    scene.run("agent", "nightly-report", now_ns - 240 * SECOND, 190 * SECOND, input="Write the report of yesterday", status="killed", user_id="cron", service="reports")  # fmt: skip
    failed_research(scene, now_ns - 95 * SECOND)
    scene.records += [
        LossReport(event_id="loss-1", timestamp=iso(now_ns - 900 * SECOND), destination="lunary", lost={"expired": 12, "too_large": 1}, process="support-7f4c"),
        LossReport(event_id="loss-2", timestamp=iso(now_ns - 300 * SECOND), destination="collector", lost={"journal_full": 340}, process="reports-1"),
    ]  # fmt: skip
    return scene


SIZES = {"desktop": (1360, 860), "phone": (390, 844)}
"""The windows that pages are looked at in, in pixels."""


def furnish(path: Path, scene: Scene) -> None:
    """Write a scene into a new store, search index included."""
    with Store(path) as store:
        for batch in scene.batches():
            store.write(batch)
        while store.index_pending(10):
            pass
