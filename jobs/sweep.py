"""A recipe at other alphas as a Ray job: the pools are made once.

    ray job submit --entrypoint-num-cpus 1 --working-dir . -- python jobs/sweep.py RECIPE [--storage URL] [--set K=V] [--alpha 0,0.2,1]

The driver joins the cluster it was submitted to. The storage must be reachable from every node: a shared folder or a URL. A job that
was killed or stopped goes on from where it was when it is submitted again. See README.md beside this file.
"""

from __future__ import annotations

import sys

from mixray.entry import start

if __name__ == "__main__":
    start("sweep", sys.argv[1:])
