"""Interpreters beside the main one (C31): importing us there is harmless.

Recording there is not supported: orjson and msgspec refuse to load in an interpreter with a lock of its own, and the
first use of a name of ours is their ImportError.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import _interpreters

inside = '''
import sys
sys.path[:] = PATH
import spanloom
print("imported", flush=True)
'''.replace("PATH", repr(sys.path))
other = _interpreters.create("isolated")
print(_interpreters.run_string(other, inside), flush=True)
_interpreters.destroy(other)

from spanloom.testing import capture
import spanloom
with capture() as runs:
    with spanloom.tool("main"):
        pass
print(len(runs), flush=True)
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="needs _interpreters")
def test_an_interpreter_with_a_lock_of_its_own(tmp_path: object) -> None:
    """It imports us and ends, and the main interpreter records as ever (C31)."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False, cwd=str(tmp_path)
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.split() == ["imported", "None", "1"]
