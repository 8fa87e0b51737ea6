"""A long life: a million runs leave memory and objects as they were (C48).

Must show 8. Memory is sampled after each portion, when everything has been delivered; the first fifth is warm-up.
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

portion = runs // 20
for turn in range(20):
    for number in range(portion // 3):
        try:
            outer(number)
        except ValueError:
            pass
        if number % 700 == 0:
            spanloom.flush(timeout_seconds=30)
    assert spanloom.flush(timeout_seconds=30)
    gc.collect()
    with open("/proc/self/statm") as statm:
        say("resident", int(statm.read().split()[1]) * 4096)
    say("objects", len(gc.get_objects()))
say_health()
"""
SLOPE_LIMIT_BYTES = 1_000_000


def test_memory_and_objects_stay_flat(home: Path) -> None:
    """After warm-up RSS moves by less than 1 MB and the number of objects does not grow."""
    runs = volume(ci=20_000, full=1_000_000)
    with Oracle(keeps="counts") as oracle:
        done = child(PROGRAM, oracle.url, str(runs), home=home, timeout_seconds=120 + runs / 250)
    account = only(read(done.lines("health")[-1]))
    assert account["created"] == account["delivered"] >= runs * 1.9
    resident = [int(line) for line in done.lines("resident")][4:]
    objects = [int(line) for line in done.lines("objects")][4:]
    megabytes = [round(size / 1e6, 2) for size in resident]
    print(f"{runs} runs: RSS {megabytes[0]} -> {megabytes[-1]} MB, objects {objects[0]} -> {objects[-1]}")
    quarter = len(resident) // 4
    growth = sum(resident[-quarter:]) / quarter - sum(resident[:quarter]) / quarter
    assert growth <= SLOPE_LIMIT_BYTES, resident
    assert min(objects[-quarter:]) <= max(objects[:quarter]) + 50, objects
