"""The run as a Ray job: `ray job submit --working-dir . -- python jobs/run.py RECIPE [--storage URL] [--set key=value]`.

The job's driver joins the cluster it was submitted to. The storage must be reachable from every node: a shared folder or a URL.
"""

from __future__ import annotations

import sys

from mixray.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
