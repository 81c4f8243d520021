"""A job followed: its log as it comes, and at the end its exit code.

In: a cluster and a job. Out: text on a stream. A broken connection is taken up again where it broke; leaving does nothing to the job.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TextIO

from mixray.errors import ClusterError
from mixray.submitting.cluster import Cluster
from mixray.terminal import harmless

POLL_SECONDS = 0.5
MOST_BREAKS = 60
"""Connections lost in a row without a word in between: half a minute and more, in which a job server may come back."""
LAST_BREAKS = 5
"""The same of a job that has ended: with a node that is gone its log is."""
INTERRUPTED = 130


def follow(cluster: Cluster, submission_id: str, out: TextIO) -> Any:
    """Write a job's log to `out` until the job has ended; return what the cluster knows of it then.

    Raises:
        ClusterError: the cluster is gone.
    """
    seen, breaks = 0, 0
    while True:
        before = seen
        seen, whole = asyncio.run(_tail(cluster, submission_id, out, seen))
        breaks = 0 if seen > before else breaks + 1
        try:
            job = cluster.job(submission_id)
            if job.status.is_terminal() and (whole or breaks > LAST_BREAKS):
                return job
        except ClusterError:
            if breaks > MOST_BREAKS:
                raise
        time.sleep(POLL_SECONDS)


async def _tail(cluster: Cluster, submission_id: str, out: TextIO, seen: int) -> tuple[int, bool]:
    """Write what lies beyond the first `seen` characters; return how many there are now, and whether the log came to its end."""
    passed, whole = 0, False
    try:
        async for text in cluster.client.tail_job_logs(submission_id):
            new = text[max(0, seen - passed) :]
            passed += len(text)
            if new:
                out.write(harmless(new))
                out.flush()
        whole = True
    except (TimeoutError, OSError, RuntimeError):
        pass
    except Exception as error:  # aiohttp has its own
        if not type(error).__module__.startswith("aiohttp"):
            raise
    return max(seen, passed), whole


def exit_code(job: Any) -> int:
    """Return the exit code of a job that has ended."""
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "STOPPED":
        return INTERRUPTED
    code = job.driver_exit_code
    return 1 if code is None else 128 - code if code < 0 else code or 1
