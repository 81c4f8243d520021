"""The job server of a Ray cluster, as mixray speaks to it: connect, look, submit, stop.

In: an address. Out: jobs, or errors of mixray's own family. Ray refuses a submission id that is taken: that makes two submissions of one
thing at once end in one job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixray.errors import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient
_TAKEN = "already exists"
_RAY_CLIENT = "ray://"


class Cluster:
    """One cluster's job server."""

    def __init__(self, address: str | None) -> None:
        """Connect; without an address to RAY_API_SERVER_ADDRESS, RAY_ADDRESS or this machine.

        Raises:
            ClusterError: nobody answers, the token is missing or wrong, or the address is no job server's.
        """
        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or "http://127.0.0.1:8265"
        if self.address.startswith(_RAY_CLIENT):  # Ray would go through it, and wait for half a minute where nobody answers
            raise ClusterError(
                "An address is Ray Client's and not a job server's",
                seen=self.address,
                rule="a job server is at the dashboard's port, 8265 unless told otherwise",
                do="pass --address http://HOST:8265, or set RAY_API_SERVER_ADDRESS",
            )
        _say_token()
        from ray.job_submission import JobSubmissionClient

        os.environ["RAY_API_SERVER_ADDRESS"] = self.address  # Ray heeds it, and RAY_ADDRESS, more than what it is given
        try:
            self.client: JobSubmissionClient = JobSubmissionClient(self.address)
        except Exception as error:  # Ray raises kinds of its own, of requests and of the standard library
            raise _unreachable(self.address, error) from error

    def jobs(self) -> list[Any]:
        """Return what the cluster knows of every job that was submitted, the latest last.

        Raises:
            ClusterError: it does not answer.
        """
        try:
            found = [job for job in self.client.list_jobs() if job.submission_id]
        except Exception as error:
            raise _unreachable(self.address, error) from error
        return sorted(found, key=lambda job: (job.start_time or 0, job.submission_id))

    def job(self, submission_id: str) -> Any:
        """Return what the cluster knows of a job.

        Raises:
            ClusterError: there is no such job, or the cluster does not answer.
        """
        try:
            return self.client.get_job_info(submission_id)
        except RuntimeError as error:
            if "does not exist" not in str(error):
                raise _unreachable(self.address, error) from error
            raise ClusterError(
                "There is no such job",
                seen=submission_id,
                rule=f"on {self.address}",
                do="see `mixray jobs ls`; a new cluster knows no old job",
            ) from None
        except Exception as error:
            raise _unreachable(self.address, error) from error

    def submit(
        self, submission_id: str, entrypoint: str, environment: Mapping[str, Any], metadata: Mapping[str, str], labels: Mapping[str, str]
    ) -> bool:
        """Submit a job whose driver takes one CPU; return False where a job of this id is there already.

        Args:
            submission_id: the job's id.
            entrypoint: its command line.
            environment: its runtime environment.
            metadata: what the cluster keeps with it, for people.
            labels: of the node that its driver may run on; any node where empty.

        Raises:
            ClusterError: the cluster refuses it.
        """
        try:
            self.client.submit_job(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env=dict(environment),
                metadata=dict(metadata),
                entrypoint_num_cpus=1,
                entrypoint_label_selector=dict(labels) or None,
            )
        except Exception as error:
            if _TAKEN in str(error) and submission_id in str(error):
                return False
            raise _unreachable(self.address, error) from error
        return True

    def log(self, submission_id: str) -> str:
        """Return a job's log so far.

        Raises:
            ClusterError: there is no such job, its log went with its node, or the cluster does not answer.
        """
        self.job(submission_id)
        try:
            return str(self.client.get_job_logs(submission_id))
        except Exception as error:
            raise _unreachable(self.address, error) from error

    def stop(self, submission_id: str) -> bool:
        """Tell a job to end; return False where it has ended.

        Raises:
            ClusterError: there is no such job, or the cluster does not answer.
        """
        self.job(submission_id)
        try:
            return bool(self.client.stop_job(submission_id))
        except Exception as error:
            raise _unreachable(self.address, error) from error


def _say_token() -> None:
    """Let Ray's client send the cluster's token where there is one: by itself it does so only when told."""
    where = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN") or Path(where).is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _unreachable(address: str, error: Exception) -> ClusterError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(' ."')] or [type(error).__name__]
    silent = isinstance(error, ConnectionError)
    return ClusterError(
        "No job server answers" if silent else "A cluster's job server does not do what it is asked",
        seen=f"{address}: {lines[-1 if 'Traceback' in str(error) else 0][:500]}",
        rule="a cluster is up, its job server within reach at --address"
        if silent
        else "it takes the token of RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, and runs the same Ray",
        do="start a cluster, open the tunnel to it, or check --address (cluster/README.md tells how); `mixray run` needs none"
        if silent
        else "check address and token (cluster/README.md tells how)",
    )
