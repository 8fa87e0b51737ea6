"""Processes that are started inside a run are below it by themselves, where that was asked for."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Process
from pathlib import Path
from typing import Any

import pytest

import spanloom
from spanloom.testing import capture
from stored import run_program, tree, trees

PROGRAM = """
import asyncio, multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
import spanloom

CHILD = "import spanloom\\nwith spanloom.tool(%r): pass"

@spanloom.tool
def leaf(name):
    return name

class Mine(multiprocessing.get_context(sys.argv[1]).Process):
    run = lambda self: leaf("mine")

async def asked():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD % "async")
    assert await process.wait() == 0

def main(method):
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(1, mp_context=context)
    with spanloom.context(user="ada", tags=["prod"]):
        with spanloom.agent("parent"):
            assert pool.submit(leaf, "pool").result() == "pool"  # the worker begins inside the run
            for process in (context.Process(target=leaf, args=("target",)), Mine()):
                process.start()
                process.join()
                assert process.exitcode == 0 and "run" not in vars(process)
            if method == "spawn":
                workers = context.Pool(1)
                subprocess.run([sys.executable, "-c", CHILD % "program"], check=True)
                subprocess.run([sys.executable, "-c", CHILD % "given"], check=True, env=dict(os.environ))
                asyncio.run(asked())
    assert pool.submit(leaf, "free").result() == "free"
    pool.shutdown()
    if method == "spawn":
        assert workers.apply(leaf, ["free"]) == "free"
        workers.close()
        workers.join()

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_are_below_the_run_that_starts_them(home: Path, tmp_path: Path, method: str) -> None:
    """C47: targets, subclasses with their own run(), pools, programs and asyncio's programs; for the same user. A
    pool's worker that began inside a run is not its child for ever, and an environment that is given is not changed."""
    (tmp_path / "program.py").write_text(PROGRAM)
    run_program(home, tmp_path / "program.py", method, SPANLOOM_PROPAGATE_PROCESSES="1")
    (parent,) = [top for top in trees(home) if top.row.run.name == "parent"]
    free = [top for top in trees(home) if top is not parent and top.row.run.name != "parent"]
    programs = ["tool program", "tool async"] if method == "spawn" else []
    assert parent.shape() == ["agent parent", *["tool leaf"] * 3, *programs]
    assert {(node.row.run.user_id, *node.row.run.tags) for node in parent} == {("ada", "prod")}
    assert sorted(str(top.shape()) for top in free) == (
        ["tool given", "tool leaf", "tool leaf"] if method == "spawn" else ["tool leaf"]
    )
    assert {(top.row.run.user_id, *top.row.run.tags) for top in free} == {(None,)}


def test_the_patches_go_away_and_are_not_there_unasked() -> None:
    """The originals come back, also when they are taken away twice; os.environ is not written."""

    def now() -> list[Any]:
        return [subprocess.Popen.__init__, Process.start, ProcessPoolExecutor.submit]

    before, variables = now(), dict(os.environ)
    with capture(), spanloom.agent("a"):
        assert now() == before
    for _ in range(2):
        with capture(propagate_processes=True), spanloom.agent("a"):
            assert not any(one is other for one, other in zip(now(), before, strict=True))
            assert subprocess.run(["true"], check=True).returncode == 0
        assert now() == before
    assert dict(os.environ) == variables


def test_a_process_is_for_whom_its_environment_says(home: Path) -> None:
    """BAGGAGE at the start holds for the whole process, and goes on to what it starts; blocks inside override."""
    program = (
        "import spanloom\n"
        "with spanloom.agent('outer'), spanloom.context(user='bob', tags=['c']): spanloom.tool(lambda: 0, name='t')()\n"
        "print(spanloom.outgoing.environment(baggage=True)['BAGGAGE'])"
    )
    said = run_program(home, "-c", program, BAGGAGE="other=1,spanloom.user=ada,spanloom.tags=a%2Cb")
    assert said.strip() == "spanloom.user=ada,spanloom.tags=a%2Cb,other=1"
    outer, inner = tree(home)
    assert (outer.row.run.user_id, list(outer.row.run.tags)) == ("ada", ["a", "b"])
    assert (inner.row.run.user_id, list(inner.row.run.tags)) == ("bob", ["a", "b", "c"])


def test_what_a_process_was_started_with_is_its_recorders(install: Any) -> None:
    """A recorder that knows of nothing records nothing of what the one before it was started with."""
    first = install(surroundings={"user": '"eve"'})
    spanloom.tool(lambda: None, name="t")()
    second = install()
    spanloom.tool(lambda: None, name="t")()
    assert (first.start("t").user_id, second.start("t").user_id) == ("eve", None)
