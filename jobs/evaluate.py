"""The students that are there asked, as a Ray job: no teacher, no training.

    ray job submit --entrypoint-num-cpus 1 --working-dir . -- python jobs/evaluate.py RECIPE [--storage URL] [--set key=value]

The driver joins the cluster it was submitted to. The storage must be reachable from every node: a shared folder or a URL. A job that
was killed or stopped goes on from where it was when it is submitted again. See README.md beside this file.
"""

from __future__ import annotations

import sys

from mixray.entry import start

if __name__ == "__main__":
    start("evaluate", sys.argv[1:])
