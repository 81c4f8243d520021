"""Jobs: what `ray job submit` costs over a direct run of the same recipe, and whether what is submitted twice at once is done once.

    python tests/bench/submission.py RECIPE [--set KEY=VALUE ...]        # the first of the two alone, of another recipe

Seconds, not ratios: a cluster is up already, as it is where jobs are submitted, so what counts is what the job server, the upload and the
driver's start add. A direct run starts a Ray of its own, which a job does not: that is part of the comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests share

from local_cluster import RAY, LocalCluster, local_cluster
from racing import race, write_recipe

PROJECT = Path(__file__).parents[2]
MOST_SECONDS_MORE = 15.0
NUM_RACES = 50
NUM_CPUS = 6
"""Of the worker node: one for the driver, and those a direct run takes for itself."""


def measure() -> Iterator[dict[str, object]]:
    """Tell both figures."""
    with _cluster() as cluster:
        yield races(cluster, NUM_RACES)
        yield seconds_more(cluster, "tiny", [])


@contextlib.contextmanager
def _cluster() -> Iterator[LocalCluster]:
    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as name, local_cluster(Path(name), NUM_CPUS) as cluster:
        yield cluster


def races(cluster: LocalCluster, rounds: int) -> dict[str, object]:
    """Submit the same twice at once, so many times; tell the share of rounds that made one computation and no failure."""
    write_recipe(cluster.folder)
    wrong = [found for number in range(rounds) if (found := race(cluster, cluster.folder / f"runs-{number}", number))]
    for found in wrong:
        print(*found, sep="\n", file=sys.stderr)
    share = 1 - len(wrong) / rounds
    return {"name": "double submissions that are done once", "ratio": share, "low": share, "high": share, "rounds": rounds, "target": 1.0,
            "met": not wrong}  # fmt: skip


def seconds_more(cluster: LocalCluster, recipe: str, overrides: Sequence[str]) -> dict[str, object]:
    """Tell how many seconds more a whole recipe takes as a job; one round, since a round takes minutes."""
    options = [word for override in overrides for word in ("--set", override)]
    reports, seconds = [], []
    for side in ("direct", "job"):
        storage = str(cluster.folder / f"runs-{side}")
        began = time.perf_counter()
        told = _direct(recipe, storage, options) if side == "direct" else _job(cluster, recipe, storage, options)
        seconds.append(time.perf_counter() - began)
        reports.append(Path(told).name)
    more = seconds[1] - seconds[0]
    if reports[0] != reports[1]:
        print(f"the two sides made different reports: {reports}", file=sys.stderr)
    return {"name": f"seconds more by ray job submit than by a direct run of {recipe} ({seconds[0]:.0f} s)", "ratio": round(more, 1),
            "low": round(more, 1), "high": round(more, 1), "rounds": 1, "target": MOST_SECONDS_MORE,
            "met": more <= MOST_SECONDS_MORE and reports[0] == reports[1]}  # fmt: skip


def _direct(recipe: str, storage: str, options: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "mixray.cli", "run", recipe, "--storage", storage, *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.strip().splitlines()[-1]


def _job(cluster: LocalCluster, recipe: str, storage: str, options: list[str]) -> str:
    """Submit with Ray's own command; return the report's folder, the last that the job wrote on its standard output."""
    ray = [RAY, "job", "submit", "--address", cluster.address, "--entrypoint-num-cpus", "1", "--working-dir", str(PROJECT)]
    command = [*ray, "--", "python", "jobs/run.py", recipe, "--storage", storage, *options]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=cluster.environment).stdout
    return next(line for line in reversed(told.splitlines()) if line.startswith(f"{storage}/reports/"))


def main() -> None:
    """Measure one recipe; print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    with _cluster() as cluster:
        print(json.dumps(seconds_more(cluster, arguments.recipe, arguments.overrides)), flush=True)


if __name__ == "__main__":
    main()
