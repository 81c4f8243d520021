"""What a job on a cluster starts with: `python -m mixray.entry NAME RECIPE ...`, and the same from `jobs/NAME.py`.

The driver of a job is a plain process, and so is the whole command line in it: Ctrl-C and SIGTERM (`ray job stop`) end it in order, its
exit code is the job's, its output the job's log. To keep that process off the head node, the job asks for one CPU for its entrypoint
(`--entrypoint-num-cpus 1`; `mixray submit` does so by itself): a head with no CPUs cannot take it, and an autoscaler starts a node that
can. The other way, a script on the head that hands everything to a remote task, would need signals, output and exit codes carried
through Ray, and would leave two processes to end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from mixray.errors import ClusterError, RecipeError
from mixray.jobs import JOBS

SECRETS = "MIXRAY_SECRETS"
"""The environment variable with the names of those that a job needs, with commas between."""


def start(name: str, arguments: Sequence[str]) -> NoReturn:
    """Run the job with the command line's further arguments, and leave with its exit code."""
    from mixray.cli import fail, main

    # Ray puts the folder of a driver's script on every worker's path, where `jobs/evaluate.py` would be taken for a library of that name.
    folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    sys.path[:] = [place for place in sys.path if os.path.realpath(place or ".") != folder]
    sys.argv[0] = "mixray"
    try:
        if name not in JOBS:
            raise RecipeError("There is no such job", seen=name, rule=f"one of {', '.join(JOBS)}")
        refuse_missing_secrets()
    except (RecipeError, ClusterError) as error:
        fail(f"mixray: {error}", error.exit_code)
    main([*JOBS[name].words, *arguments])


def refuse_missing_secrets() -> None:
    """Refuse to start where a variable that was asked for is not there: now, and not after hours of work.

    Raises:
        ClusterError: one is not set.
    """
    missing = [name for name in os.environ.get(SECRETS, "").split(",") if name and not os.environ.get(name, "").strip()]
    if missing:
        raise ClusterError(
            "A secret is not in the environment of the cluster's nodes",
            seen=", ".join(missing),
            rule="what `--secret` names is set on every node",
            do="set it where nodes start (see jobs/README.md), or send it along with `--send-secret`",
        )


if __name__ == "__main__":
    start(sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:])
