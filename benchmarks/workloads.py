"""The workloads, each a function of a subject that returns figures. One process runs one of them, once."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from typing import Any

from . import conditions
from .subjects import Subject
from .texts import prompt, prose
from .timing import Figures, over_plain, timed


def _agent(subject: Subject) -> Callable[[int], str]:
    """An agent trace of 6 runs: agent, chain, two LLM calls with 2 KB chats in and 1 KB out, a tool, a retriever."""
    chats = [
        [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": prose(2000, n)}]
        for n in range(16)
    ]
    answers = [{"role": "assistant", "content": prose(1000, 100 + n)} for n in range(16)]

    @subject.decorator("llm")
    def model(messages: Any) -> Any:
        return answers[len(messages[1]["content"]) % 16]

    @subject.decorator("tool")
    def search(query: Any) -> Any:
        return answers[3]

    @subject.decorator("retriever")
    def recall(query: Any) -> Any:
        return answers[4]

    @subject.decorator("chain")
    def plan(messages: Any) -> Any:
        recall(messages)
        return search(messages)

    @subject.decorator("agent")
    def agent(messages: Any) -> Any:
        model(messages)
        plan(messages)
        return model(messages)

    return lambda n: agent(chats[n % 16])  # type: ignore[no-any-return]


def agent_trace(subject: Subject, traces: int = 1500) -> Figures:
    """Caller-thread microseconds per run (wall, and processor time of the thread), and the whole process's CPU."""
    run = _agent(subject)
    for n in range(100):
        run(n)
    time.sleep(0.5)
    wall, thread = time.perf_counter(), time.thread_time()
    for n in range(traces):
        run(n)
    wall, thread = time.perf_counter() - wall, time.thread_time() - thread
    subject.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    runs = traces * 6
    return {
        "caller_us_per_run": wall / runs * 1e6,
        "thread_us_per_run": thread / runs * 1e6,
        "process_cpu_s_per_10k_runs": (usage.ru_utime + usage.ru_stime) / (runs + 600) * 10_000,
    }


def fresh_prompts(subject: Subject, runs: int = 2000) -> Figures:
    """Model calls whose 2 KB prompts and 1 KB answers have never been seen before, full of colons, code and URLs."""

    @subject.decorator("llm")
    def model(messages: Any) -> Any:
        return answers[messages[1]["turn"]]

    system = {"role": "system", "content": "You are helpful."}
    chats = [[system, {"role": "user", "content": prompt(2000, n), "turn": n}] for n in range(runs)]
    answers = [{"role": "assistant", "content": prompt(1000, runs + n)} for n in range(runs)]
    for chat in chats[:200]:
        model(chat)
    time.sleep(0.5)
    wall = time.perf_counter()
    for chat in chats[200:]:
        model(chat)
    wall = time.perf_counter() - wall
    subject.close()
    return {"caller_us_per_run": wall / (runs - 200) * 1e6}


def no_op(subject: Subject, calls: int = 20_000) -> Figures:
    """Microseconds for a decorated function of one small argument."""

    @subject.decorator("tool")
    def nothing(x: int) -> int:
        return x

    for n in range(500):
        nothing(n)
    time.sleep(0.5)
    wall = time.perf_counter()
    for n in range(calls):
        nothing(n)
    wall = time.perf_counter() - wall
    subject.close()
    return {"caller_us_per_run": wall / calls * 1e6}


def async_traces(subject: Subject, tasks: int = 200, rounds: int = 5) -> Figures:
    """200 concurrent asyncio tasks, each an agent of 6 runs; and the longest stall of the loop in milliseconds."""
    chat = [{"role": "user", "content": prose(2000, 1)}]
    answer = {"role": "assistant", "content": prose(1000, 2)}

    @subject.async_decorator("llm")
    async def model(messages: Any) -> Any:
        await asyncio.sleep(0)
        return answer

    @subject.async_decorator("agent")
    async def agent(messages: Any) -> Any:
        for _ in range(5):
            await model(messages)
        return answer

    stalls: list[float] = []

    async def heartbeat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            stalls.append(time.perf_counter() - before - 0.001)

    async def main() -> float:
        await agent(chat)
        beat = asyncio.ensure_future(heartbeat())
        spent = 0.0
        for _ in range(rounds):
            started = time.perf_counter()
            await asyncio.gather(*(agent(chat) for _ in range(tasks)))
            spent += time.perf_counter() - started
            await asyncio.sleep(0.05)
        beat.cancel()
        return spent

    spent = asyncio.run(main())
    subject.close()
    return {"caller_us_per_run": spent / (tasks * 6 * rounds) * 1e6, "longest_stall_ms": max(stalls) * 1e3}


def burst(subject: Subject, runs: int = 50_000) -> Figures:
    """50,000 runs of 3 KB at once; caller's time, growth of the resident set in megabytes."""
    chat = [{"role": "user", "content": prose(2000, 1)}]
    answer = {"role": "assistant", "content": prose(1000, 2)}

    @subject.decorator("llm")
    def model(messages: Any) -> Any:
        return answer

    for _ in range(500):
        model(chat)
    time.sleep(0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall = time.perf_counter()
    for _ in range(runs):
        model(chat)
    wall = time.perf_counter() - wall
    subject.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"caller_us_per_run": wall / runs * 1e6, "rss_growth_mb": grown / 1024}


def giant(subject: Subject, megabytes: int) -> Figures:
    """Milliseconds of the caller for one argument of so many megabytes (best of 5)."""

    @subject.decorator("tool")
    def take(text: str) -> int:
        return len(text)

    text = "x y " * (megabytes * 250_000)
    take("small")
    best = min(timed(lambda: take(text)) for _ in range(5))
    return {"caller_ms": best * 1e3}


def beside(subject: Subject, threads: int) -> Figures:
    """The 99th percentile of a decorated call's own cost beside so many CPU-bound threads, in microseconds."""
    import threading

    @subject.decorator("tool")
    def nothing(x: int) -> int:
        return x

    stop = False

    def spin() -> None:
        n = 0
        while not stop:
            n += 1

    spinners = [threading.Thread(target=spin, daemon=True) for _ in range(threads)]
    nothing(0)
    for spinner in spinners:
        spinner.start()
    costs = []
    for n in range(4_000):
        cost = timed(lambda n=n: nothing(n))  # type: ignore[misc]
        costs.append(cost)
        if n % 50 == 0:
            time.sleep(0.001)  # a call is measured at the start of a turn at the interpreter, not cut by its end
    stop = True
    costs.sort()
    return {"p50_us": costs[len(costs) // 2] * 1e6, "p99_us": costs[int(len(costs) * 0.99)] * 1e6}


def off(subject: Subject) -> Figures:
    """What a decorated call costs over the undecorated one while Spanloom is switched off."""
    figures = over_plain(subject)
    subject.close()
    return figures


WORKLOADS: dict[str, Callable[[Subject], Figures]] = {
    "agent_trace": agent_trace,
    "no_op": no_op,
    "fresh_prompts": fresh_prompts,
    "async_traces": async_traces,
    "burst": burst,
    "giant_5mb": lambda subject: giant(subject, 5),
    "giant_500mb": lambda subject: giant(subject, 500),
    "beside_1": lambda subject: beside(subject, 1),
    "beside_4": lambda subject: beside(subject, 4),
    "endpoint_down": conditions.endpoint_down,
    "idle": conditions.idle,
    "host_span": conditions.host_span,
    "off": off,
    "nowhere": conditions.nowhere,
}
