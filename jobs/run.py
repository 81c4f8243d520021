"""The whole run as a Ray job: teachers, pools, mixtures, students, scores, report.

    ray job submit --entrypoint-num-cpus 1 --working-dir . -- python jobs/run.py RECIPE [--storage URL] [--set key=value]

The driver joins the cluster it was submitted to. The storage must be reachable from every node: a shared folder or a URL. A job that
was killed or stopped goes on from where it was when it is submitted again. See README.md beside this file.
"""

from __future__ import annotations

import sys

from mixray.entry import start

if __name__ == "__main__":
    start("run", sys.argv[1:])
