"""The code as text: ruff and mypy --strict find nothing; files open with their promise and stay readable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("command", [("ruff", "check", "."), ("ruff", "format", "--check", ".")], ids=" ".join)
def test_ruff_finds_nothing(command: tuple[str, ...]) -> None:
    """Lint and format, by the rules in pyproject.toml."""
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_strict_finds_nothing() -> None:
    """The whole of src under mypy --strict."""
    done = run("mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def sources() -> list[Path]:
    return sorted(path for path in (ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_module_opens_with_its_promise(path: Path) -> None:
    """A file starts with a docstring: what it promises, and what it must never do."""
    text = path.read_text("utf-8")
    assert text.startswith('"""'), f"{path} has no module docstring"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_file_outgrows_a_reader(path: Path) -> None:
    """Files stay near 400 lines; one that passes 450 is split."""
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= 450, f"{path} has {lines} lines: split it by what its parts promise"
