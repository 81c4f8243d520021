"""Plans the recipes it is given against cluster files, in one process: `python plan_all.py STORAGE CLUSTER,... RECIPE...`.

The last line on standard output is {recipe: {cluster file, or none: [exit code, what was said]}} as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from mixray.cli import main


def planned(recipe: str, storage: str, cluster: str) -> tuple[int, str]:
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
    print(json.dumps({recipe: {cluster: planned(recipe, storage, cluster) for cluster in clusters.split(",")} for recipe in recipes}))
