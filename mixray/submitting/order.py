"""One thing asked of a cluster: a job, a recipe, a storage; and that it is done once.

In: an order. Out: the id of the job that carries it out. The id holds a hash of all that was asked for, so whoever asks for the same finds
the job that is at it; a job that failed, was stopped, or whose results are gone is followed by another one, with the next number at the
end of its id. Two that ask at once agree, since a cluster gives an id once.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mixray.errors import ClusterError
from mixray.recipe import Recipe
from mixray.rows import digest
from mixray.submitting.cluster import Cluster
from mixray.submitting.travel import RECIPE, contents, named_files, pack

MOST_RACES = 20
How = Literal["begun", "attached", "done"]


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    job: str
    recipe: Recipe
    data: dict[str, Any]
    """The recipe as plain data, as its author wrote it."""
    storage: str
    """As a node finds it."""
    further: tuple[str, ...] = ()
    """Further words for the job's command line."""
    shared_paths: bool = False
    driver_labels: dict[str, str] = field(default_factory=dict)
    """Of the node that the driver runs on; where a thing runs is not what it is, and the name does not tell."""
    files: list[Path] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", named_files(self.data, self.shared_paths))

    @property
    def name(self) -> str:
        """What all jobs of this order are called, but for the number at the end."""
        asked = [self.job, self.recipe.model_dump(mode="json"), contents(self.files), self.storage, list(self.further)]
        return f"mixray-{self.recipe.name}-{self.job}-{digest(asked, 12)}"

    @property
    def entrypoint(self) -> str:
        """The job's command line."""
        words = ["python", "-m", "mixray.entry", self.job, RECIPE, "--storage", self.storage, *self.further]
        return " ".join(map(shlex.quote, words))

    @property
    def metadata(self) -> dict[str, str]:
        """What the cluster keeps with the job, for people."""
        return {"mixray_recipe": self.recipe.name, "mixray_job": self.job, "mixray_storage": self.storage}


def submitted(
    cluster: Cluster, order: Order, environment: Callable[[str], dict[str, Any]], is_made: Callable[[], bool | None]
) -> tuple[str, How]:
    """See to it that one job carries out the order; return its id and what became of asking.

    Args:
        cluster: where.
        order: what.
        environment: makes a job's runtime environment of the folder that travels.
        is_made: whether the order's results are on the storage; None where that cannot be said, and the job's own success counts.

    Raises:
        ClusterError: the cluster does not take the job.
    """
    with tempfile.TemporaryDirectory(prefix="mixray-order-") as name:
        pack(Path(name), order.data, order.files)
        for _ in range(MOST_RACES):
            number, job = _latest(cluster, order.name)
            if job is not None and not job.status.is_terminal():
                return job.submission_id, "attached"
            if job is not None and job.status == "SUCCEEDED" and is_made() is not False:
                return job.submission_id, "done"
            submission_id = f"{order.name}-{number + 1}"
            if cluster.submit(submission_id, order.entrypoint, environment(name), order.metadata, order.driver_labels):
                return submission_id, "begun"
    raise ClusterError("A job could not be submitted: others were always faster", seen=order.name, do="see `mixray jobs ls`")


def _latest(cluster: Cluster, name: str) -> tuple[int, Any]:
    """Return the number of an order's last job, and the job; 0 and None where there was none."""
    numbered = re.compile(re.escape(name) + r"-(\d+)")
    found = [(int(match[1]), job) for job in cluster.jobs() if (match := numbered.fullmatch(job.submission_id))]
    return max(found, key=lambda each: each[0], default=(0, None))
