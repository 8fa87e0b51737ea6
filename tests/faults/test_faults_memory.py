"""No memory to be had by the whole process (C37).

Failing single allocations (``_testcapi.set_nomemory``) cannot be shown: orjson, which encodes, ends the process with a
segmentation fault when one of its own fails.
"""

from __future__ import annotations

from pathlib import Path

from support.balance import only, read
from support.children import child
from support.oracle import Oracle

LIMITED = """
import resource, sys
import spanloom
from support.program import accepted, say, say_health

spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool("first"):
    pass
accepted("first")
spanloom.flush(timeout_seconds=10)
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * 4096
big = "x" * (48 << 20)
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
raised = 0
for number in range(8):
    try:
        with spanloom.tool(f"big-{number}", input=[big, {"again": big}, big.encode]):
            pass
        accepted(f"big-{number}")
    except MemoryError:
        raised += 1
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
del big
with spanloom.tool("last"):
    pass
accepted("last")
say("raised", raised)
say("flushed", spanloom.flush(timeout_seconds=20))
say_health()
"""


def test_a_process_at_its_limit(home: Path) -> None:
    """Runs with inputs that cannot be copied any more under RLIMIT_AS: no MemoryError reaches the host, and what was
    recorded arrives or is counted (C37)."""
    with Oracle(keeps="ids") as oracle:
        done = child(LIMITED, oracle.url, home=home)
        assert done.lines("raised") == ["0"] and done.lines("flushed") == ["True"]
        account = only(read(done.lines("health")[-1]))
        assert account["created"] == account["delivered"] + account["dropped"] + account["rejected"]
        assert {"first", "last"} <= oracle.log.names("end").keys()
        oracle.log.assert_clean()
