"""Virtual environments for vendors' own SDKs, kept out of ours because of what they drag along.

    python tests/vendor/environments.py lunary        # makes it when it is not there; prints its Python

They lie under SPANLOOM_VENDOR_HOME, by default the user's cache directory, one for each SDK, version and Python. The
tests use one that is there, and make it themselves when SPANLOOM_VENDOR=1 is set (as CI does): about 30 s and 250 MB
for Lunary, whose SDK needs LangChain; 5 to 8 s of work and 30 to 50 MB for each of the others. A half-made one is
never used: the marker is written last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

VERSIONS = {
    "lunary": "lunary==1.4.41",
    "phoenix": "arize-phoenix==20.26.1",  # a server that takes OTLP: about 60 s and 850 MB
    "mlflow": "mlflow==3.17.2",  # another, of the same size
    "vlunaai": "vlunaai==0.3.2",
    "lumen": "lumen-python-sdk==0.1.1",
}
INSTALL_SECONDS = 300


def place(name: str) -> Path:
    """Where the environment of this SDK lies."""
    root = os.environ.get("SPANLOOM_VENDOR_HOME") or Path.home() / ".cache" / "spanloom-vendor"
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return Path(root) / f"{VERSIONS[name].replace('==', '-')}-{python}"


def python_of(name: str) -> Path | None:
    """The environment's Python, or None when it is not there (or not finished)."""
    found = place(name)
    return found / "bin" / "python" if (found / "ready").exists() else None


def make(name: str) -> Path:
    """Make the environment and return its Python; raises CalledProcessError with pip's words."""
    ready = python_of(name)
    if ready is not None:
        return ready
    found = place(name)
    shutil.rmtree(found, ignore_errors=True)
    venv.create(found, with_pip=True)
    python = found / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", VERSIONS[name]]
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
    (found / "ready").touch()
    return python


def python_for_test(name: str) -> Path:
    """The environment's Python; the test is skipped where it is not there and may not be made."""
    if wanted():
        return make(name)
    found = python_of(name)
    if found is None:
        pytest.skip(f"no environment with {VERSIONS[name]}: SPANLOOM_VENDOR=1 makes one (tests/vendor/environments.py)")
    return found


def wanted() -> bool:
    """Whether the tests may make environments."""
    return os.environ.get("SPANLOOM_VENDOR", "") not in ("", "0")


if __name__ == "__main__":
    print(make(sys.argv[1] if len(sys.argv) > 1 else "lunary"))
