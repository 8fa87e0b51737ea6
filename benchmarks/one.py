"""One measurement in one process: `python -m benchmarks.one WORKLOAD SUBJECT SINK_URL` prints figures as JSON."""

from __future__ import annotations

import json
import sys

from .subjects import SUBJECTS
from .workloads import WORKLOADS


def main() -> None:
    workload, name, url = sys.argv[1:]
    subject = SUBJECTS[name]()
    subject.open(url)
    print(json.dumps(WORKLOADS[workload](subject)))


main()
