"""One measurement in one process: `python -m benchmarks.one WORKLOAD SUBJECT SINK_URL` prints figures as JSON.

SUBJECT is one of `subjects.SUBJECTS`, or ``peer:NAME`` with the interpreter that has it installed.
"""

from __future__ import annotations

import json
import sys

from .peers import PEERS
from .subjects import SUBJECTS
from .workloads import WORKLOADS


def main() -> None:
    workload, name, url = sys.argv[1:]
    subject = (PEERS if name.startswith("peer:") else SUBJECTS)[name.removeprefix("peer:")]()
    subject.open(url)
    print(json.dumps(WORKLOADS[workload](subject)))


main()
