"""A long life: a million runs leave memory and objects as they were (C48).

Must show 8. The first of five parts is warm-up. What the process holds for itself (anonymous memory) is sampled after
each portion, when everything has been delivered. The whole resident set moves up and down by a journal segment of 4 MB,
because the mapped file of the active one counts while it is there; so its lowest point in each portion is compared.
"""

from __future__ import annotations

from pathlib import Path

from support.balance import only, read
from support.children import child
from support.oracle import Oracle
from support.volume import volume

PROGRAM = """
import gc, sys
import spanloom
from support.program import say, say_health

url, runs = sys.argv[1], int(sys.argv[2])
spanloom.configure(destinations=[spanloom.Collector(url)])

@spanloom.agent
def outer(number):
    with spanloom.llm("model", input=[{"role": "user", "content": f"question {number}"}]) as run:
        run.set(output="answer", usage={"input": 5, "output": 7})
    return inner(number)

@spanloom.tool
def inner(number):
    if number % 50 == 0:
        raise ValueError(number)
    return number

def resident():
    with open("/proc/self/status") as status:
        kilobytes = {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmRSS", "RssAnon"))}
    return int(kilobytes["VmRSS"]) * 1024, int(kilobytes["RssAnon"]) * 1024

portion = runs // 20
for turn in range(20):
    lowest = resident()[0]
    for number in range(portion // 3):
        try:
            outer(number)
        except ValueError:
            pass
        if number % 50 == 0:
            lowest = min(lowest, resident()[0])
        if number % 700 == 0:
            spanloom.flush(timeout_seconds=30)
    assert spanloom.flush(timeout_seconds=30)
    gc.collect()
    whole, anonymous = resident()
    say("lowest", min(lowest, whole))
    say("anonymous", anonymous)
    say("objects", len(gc.get_objects()))
say_health()
"""
GROWTH_LIMIT_BYTES = 1_000_000


def test_memory_and_objects_stay_flat(home: Path) -> None:
    """After warm-up RSS moves by less than 1 MB and the number of objects does not grow."""
    runs = volume(ci=20_000, full=1_000_000)
    with Oracle(keeps="counts") as oracle:
        done = child(PROGRAM, oracle.url, str(runs), home=home, timeout_seconds=120 + runs / 250)
    account = only(read(done.lines("health")[-1]))
    assert account["created"] == account["delivered"] >= runs * 1.9
    samples = {word: [int(line) for line in done.lines(word)][4:] for word in ("lowest", "anonymous", "objects")}
    shown = {word: (found[0], found[-1]) for word, found in samples.items()}
    print(f"{runs} runs: first and last, bytes: {shown}")
    quarter = len(samples["objects"]) // 4
    lowest, anonymous, objects = samples.values()
    assert min(lowest[-quarter:]) - min(lowest[:quarter]) <= GROWTH_LIMIT_BYTES, lowest
    assert max(anonymous[-quarter:]) - max(anonymous[:quarter]) <= GROWTH_LIMIT_BYTES, anonymous
    assert min(objects[-quarter:]) <= max(objects[:quarter]) + 50, objects
