"""Plans recipes against cluster files, in one process: `python plan_all.py STORAGE CLUSTER,... RECIPE...`; no cluster where it is empty.

The last line on standard output is {recipe: {cluster file: [exit code, what was said]}} as JSON. The first cluster is planned by the
command; the others, for time, by what the command calls.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator

from mixray.cli import main
from mixray.cluster_cli import OnCluster
from mixray.errors import ClusterError
from mixray.graph import build_graph
from mixray.recipe_file import load_recipe
from mixray.store import Store

Told = tuple[int, str]


def planned(recipe: str, storage: str, clusters: list[str]) -> Iterator[tuple[str, Told]]:
    first, *others = clusters
    yield first, _by_command(recipe, storage, first)
    loaded = load_recipe(recipe)
    graph = build_graph(loaded, Store(storage))
    for cluster in others:
        on = OnCluster.of(loaded, graph, cluster, is_reported=False)
        try:
            on.check()
        except ClusterError as error:
            yield cluster, (error.exit_code, str(error))
        else:
            yield cluster, (0, on.summary())


def _by_command(recipe: str, storage: str, cluster: str) -> Told:
    told = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            main(["plan", recipe, "--storage", storage, *(["--cluster", cluster] if cluster else [])])
        except SystemExit as left:
            code = int(left.code or 0)
    return code, told.getvalue()


if __name__ == "__main__":
    storage, clusters, *recipes = sys.argv[1:]
    print(json.dumps({recipe: dict(planned(recipe, storage, clusters.split(","))) for recipe in recipes}))
