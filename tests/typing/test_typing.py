"""The public API as mypy --strict and pyright see it: right uses pass, and every wrong one is reported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WRONG = [n for n, line in enumerate((HERE / "api_wrong.py").read_text().splitlines(), 1) if line.endswith("# wrong")]


def reported_by_mypy(name: str, cache: Path) -> dict[int, str]:
    """Line number to message of mypy's errors in a file beside this one."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(cache), name]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"(.+?):(\d+)(?::\d+)?: error: (.*)", line)
        if match:
            assert match[1].endswith(name), line
            found[int(match[2])] = match[3]
    return found


def reported_by_pyright(name: str) -> dict[int, str]:
    """The same by pyright."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(ROOT), name]
    command = [part for part in command if part not in ("-p", str(ROOT))]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)
    if '"generalDiagnostics"' not in done.stdout:
        pytest.skip(f"pyright cannot run here: {done.stderr[-200:]}")
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    return {
        item["range"]["start"]["line"] + 1: item["message"]
        for item in answer["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of the packages, for both files: 20 s to find out."""
    return tmp_path_factory.mktemp("mypy")


def test_mypy_accepts_right_uses(cache: Path) -> None:
    """mypy --strict finds nothing in a file that uses every kind of decorated thing."""
    assert reported_by_mypy("api_ok.py", cache) == {}


def test_mypy_reports_wrong_uses(cache: Path) -> None:
    """mypy reports every wrong argument, and only those."""
    assert sorted(reported_by_mypy("api_wrong.py", cache)) == WRONG


def test_pyright_accepts_right_uses() -> None:
    """pyright finds nothing in the same file."""
    assert reported_by_pyright("api_ok.py") == {}


def test_pyright_reports_wrong_uses() -> None:
    """pyright reports every wrong argument, and only those."""
    assert sorted(reported_by_pyright("api_wrong.py")) == WRONG
