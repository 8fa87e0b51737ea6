"""A package that our thread imports is never met half made: not by host code that looks, not by a child that forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.children import child
from support.oracle import Oracle

SLOW = """
import time
first = 1
time.sleep(0.3)
from . import part
late = part.value
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A directory with a package that takes 0.3 s to import, and one that fails."""
    for name, source in (("slow", SLOW), ("broken", "import time\ntime.sleep(0.2)\nraise ImportError('broken')\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        (tmp_path / name / "part.py").write_text("value = 7\n")
    return tmp_path


def run(packages: Path, program: str) -> str:
    source = (
        "import faulthandler, os, sys, threading, time\n"
        "faulthandler.dump_traceback_later(15, exit=True)\n"
        "from spanloom.shipping.importing import import_unseen\n"
        "before = list(sys.meta_path)\n" + program
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process", "-c", source],
        cwd=packages,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_code_that_looks_in_sys_modules_waits_for_the_whole_package(packages: Path) -> None:
    """Another thread takes a name that is not there yet, and gets it once the import has ended."""
    printed = run(
        packages,
        "threading.Thread(target=import_unseen, args=('slow',)).start()\n"
        "while 'slow' not in sys.modules: time.sleep(0.001)\n"
        "module = sys.modules['slow']\n"
        "half = 'late' not in vars(module)\n"
        "print(half, module.late, type(module).__name__, module.__spec__.loader.__class__.__name__)\n"
        "try: module.nothing\n"
        "except AttributeError as error: print(error)\n",
    )
    assert printed == "True 7 module SourceFileLoader\nmodule 'slow' has no attribute 'nothing'"


def test_a_fork_waits_so_that_the_child_can_import(packages: Path) -> None:
    """A child forked in the middle of the import has the package, and its own import of it does not hang."""
    printed = run(
        packages,
        "threading.Thread(target=import_unseen, args=('slow',)).start()\n"
        "while 'slow' not in sys.modules: time.sleep(0.001)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    import slow\n"
        "    os._exit(slow.late)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    )
    assert printed == "7"


def test_a_package_that_fails_fails_as_ever(packages: Path) -> None:
    """The ImportError comes through, nothing of the package or of ours stays behind, and a second try fails alike."""
    printed = run(
        packages,
        "for _ in range(2):\n"
        "    try: import_unseen('broken')\n"
        "    except ImportError as error: print(error, 'broken' in sys.modules, sys.meta_path == before)\n"
        "try: import_unseen('no_such_package')\n"
        "except ModuleNotFoundError as error: print(error.name)\n",
    )
    assert printed.splitlines() == ["broken False True", "broken False True", "no_such_package"]


def test_the_hosts_own_import_hooks_are_asked(packages: Path) -> None:
    """A finder that the host has put first still finds the package, and its loader makes and runs it."""
    printed = run(
        packages,
        "from importlib.machinery import PathFinder\n"
        "class Hook:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name != 'slow': return None\n"
        "        spec = PathFinder.find_spec(name, path)\n"
        "        inner = spec.loader.exec_module\n"
        "        spec.loader.exec_module = lambda module: (inner(module), setattr(module, 'hooked', True))\n"
        "        return spec\n"
        "sys.meta_path.insert(0, Hook())\n"
        "slow = import_unseen('slow')\n"
        "print(slow.hooked, import_unseen('slow') is slow, len(sys.meta_path) - len(before))\n",
    )
    assert printed == "True True 1"


def test_many_threads_import_at_once(packages: Path) -> None:
    """Host threads that import the package while we do all get the same whole module."""
    printed = run(
        packages,
        "seen = []\n"
        "def host():\n"
        "    import slow\n"
        "    seen.append((id(slow), slow.late))\n"
        "threads = [threading.Thread(target=import_unseen, args=('slow',)) for _ in range(3)]\n"
        "threads += [threading.Thread(target=host) for _ in range(5)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(len(seen), len(set(seen)), sys.meta_path == before)\n",
    )
    assert printed == "5 1 True"


IMPORTS_OF_OURS = """
import sys, _thread
import spanloom
from spanloom.shipping import importing
from support.program import say

host, outside = _thread.get_ident(), []

def watch(event, arguments):
    if event == "import" and _thread.get_ident() != host and not importing._importing._is_owned():
        outside.append(arguments[0])

sys.addaudithook(watch)
spanloom.configure(destinations=[spanloom.Collector(sys.argv[1]) if len(sys.argv) > 1 else spanloom.Local()])
with spanloom.tool("first", input="x" * 5000):
    pass
say("flushed", spanloom.flush(timeout_seconds=20))
say("httpx", "httpx" in sys.modules)
say("outside", outside)
"""


@pytest.mark.parametrize("where", ["collector", "local"])
def test_our_threads_import_where_no_fork_can_come_between(home: Path, where: str) -> None:
    """From the first record to its delivery, every module that a thread of ours loads, it loads in the block (C25)."""
    with Oracle() as oracle:
        done = child(IMPORTS_OF_OURS, *([oracle.url] if where == "collector" else []), home=home)
    assert done.lines("flushed") == ["True"]
    assert done.lines("httpx") == [str(where == "collector")]
    assert done.lines("outside") == ["[]"]


FORKED_EARLY = """
import os, sys, time
import spanloom
from support.program import say, wait_for_children

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "httpcore":
            say("importing")
            time.sleep(0.3)

sys.meta_path.insert(0, Slow())
spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool("parent"):
    pass
while "httpx" not in sys.modules:
    time.sleep(0.001)
time.sleep(0.1)
pid = os.fork()
with spanloom.tool("child" if not pid else "parent again"):
    pass
flushed = spanloom.flush(timeout_seconds=5)
if not pid:
    os._exit(0 if flushed else 1)
say("flushed", flushed)
say("well", wait_for_children([pid], 20)["well"])
"""


def test_a_fork_while_the_shipper_prepares(home: Path) -> None:
    """A fork while the client is being built, which imports too: the child delivers, and so does the parent (C25)."""
    with Oracle() as oracle:
        done = child(FORKED_EARLY, oracle.url, home=home)
        assert done.lines("flushed") == ["True"]
        assert done.lines("well") == ["1"]
        assert oracle.log.names("end").keys() == {"parent", "child", "parent again"}


NOTHING_LEFT = """
import datetime, sys, _thread
import spanloom
from support.program import say

spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
tool, host, loaded = spanloom.tool, _thread.get_ident(), []
sys.addaudithook(lambda event, args: event == "import" and _thread.get_ident() == host and loaded.append(args[0]))

@tool
def record(value):
    if isinstance(value, Exception):
        raise value

for value in ("text", "x" * 3_000_000, "half a pair \\ud800", "key sk-abcdefghijklmnopqrstuvwx", b"bytes", 10**400,
              float("nan"), datetime.datetime.now(), object(), ValueError("no"), {"a": [1, {2, 3}]}):
    try:
        record(value)
    except ValueError:
        pass
with spanloom.context(user="u", tags=["t"]), spanloom.llm("m") as run:
    run.set(output="o", usage={"input": 1})
spanloom.health()
say("loaded", loaded)
"""


def test_recording_imports_nothing(home: Path) -> None:
    """From the first record on the host's threads load no module, not even a codec: a fork in the middle of it, from
    another thread, would leave the child waiting for it (C24)."""
    with Oracle() as oracle:
        assert child(NOTHING_LEFT, oracle.url, home=home).lines("loaded") == ["[]"]


UNTOUCHED = """
import random, sys
import spanloom
from support.program import say

before = random.getstate()
spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool("first"):
    pass
say("flushed", spanloom.flush(timeout_seconds=20))
say("untouched", random.getstate() == before)
say("rich", "rich" in sys.modules)
import httpx
say("main", httpx.main.__name__)
sys.argv[1:] = ["--help"]
httpx.main()
"""


def test_delivering_draws_no_number_of_the_hosts(home: Path) -> None:
    """The generator that the host has seeded stays where it is, also when the HTTP client is loaded; and the client's
    own command line program is there for who asks for it (C87)."""
    with Oracle() as oracle:
        done = child(UNTOUCHED, oracle.url, home=home)
    assert done.lines("flushed") == ["True"]
    assert done.lines("untouched") == ["True"]
    assert done.lines("rich") == ["False"]
    assert "httpx" in done.stdout.partition("main ")[2]
