"""A long outage: memory stays small, nothing is lost, and the backlog drains when the endpoint is back (C50, C82).

Must show 5. Accelerated: the events of the outage are emitted as fast as the program can, instead of at 200/s. A full
run emits 400,000 events of 2 KB, 33 minutes' worth at 200/s and 0.8 GB, which is within the journal's cap of 1 GiB.
"""

from __future__ import annotations

from pathlib import Path

from support import toxic as toxics
from support.balance import only, read
from support.children import Child
from support.oracle import Oracle
from support.toxic import Toxic
from support.volume import FULL, volume

OUTAGE = """
import os, sys, time
import spanloom
from support.program import accepted, say, say_health

url, healed, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
spanloom.configure(destinations=[spanloom.Collector(url)])
text = "".join(f"{n:04d} lorem ipsum dolor " for n in range(80))[:1800]

def resident():
    with open("/proc/self/statm") as statm:
        pages, shared = map(int, statm.read().split()[1:3])
    return pages * 4096, (pages - shared) * 4096

def emit(prefix, count):
    for number in range(count):
        with spanloom.tool(f"{prefix}-{number}", input=text) as run:
            run.set(output=text)

emit("warm", 500)
say("warm", spanloom.flush(timeout_seconds=30))
while not os.path.exists(healed + ".broken"):
    time.sleep(0.005)
before = resident()
top = before
began = time.monotonic()
for chunk in range(20):
    emit(f"out{chunk}", runs // 20)
    top = tuple(map(max, top, resident()))
say("emitted", round(runs * 2 / (time.monotonic() - began)))
say("growth", top[0] - before[0])
say("growth_private", top[1] - before[1])
say_health("down")
while not os.path.exists(healed):
    time.sleep(0.01)
drained = time.monotonic()
say("flushed", spanloom.flush(timeout_seconds=600))
top = tuple(map(max, top, resident()))
say("growth", top[0] - before[0])
say_health()
"""
GROWTH_LIMIT_BYTES = 48 << 20


def test_an_outage_costs_disk_and_not_memory(home: Path, tmp_path: Path) -> None:
    """RSS grows by at most 48 MB while the endpoint is away and while the backlog drains; nothing is lost (C50)."""
    runs = volume(ci=2_500, full=200_000)
    healed = tmp_path / "healed"
    with Oracle(keeps="counts") as oracle, Toxic(oracle.port) as toxic:
        with Child(OUTAGE, toxic.url, str(healed), str(runs), home=home, timeout_seconds=60 + runs / 50) as running:
            assert running.wait_for("warm") == ["True"]
            toxic.use(toxics.refuse())
            healed.with_suffix(".broken").touch()
            down = only(read(running.wait_for("down")[-1]))
            assert down["pending"] == runs // 20 * 20 * 2
            assert down["dropped"] == 0
            toxic.clear()
            healed.touch()
            done = running.finish().assert_clean()
        account = only(read(done.lines("health")[-1]))
        assert done.lines("flushed") == ["True"]
        assert account["delivered"] == account["created"] == 1000 + runs // 20 * 20 * 2
        backlog = [exchange for exchange in oracle.log.exchanges() if exchange.status == 200][1:]
        seconds = backlog[-1].at_seconds - backlog[0].at_seconds
        rate = sum(exchange.count for exchange in backlog[1:]) / seconds if seconds else 0
        growth = max(map(int, done.lines("growth")))
        print(
            f"{runs * 2} events of 2 KB at {done.lines('emitted')[0]}/s; RSS +{growth / 1e6:.1f} MB "
            f"(private +{int(done.lines('growth_private')[0]) / 1e6:.1f} MB); drained at {rate:.0f} events/s"
        )
        assert growth <= GROWTH_LIMIT_BYTES
        if FULL:
            assert rate >= 5000
