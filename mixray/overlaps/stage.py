"""The stage that looks for what should not be there twice: training problems that repeat one another, or that a benchmark asks.

In: the training problems and the recipe's benchmarks (artefacts of kind `problems`). Out: an artefact of kind `overlaps`: `hits.json` and
`twins.json`. Problems that are near one another and have other answers are no twins: they differ in a word that matters. It is made for
every run that mixes; what is done about a hit is the blend's to say. What survives a kill: nothing unfinished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from mixray.overlaps.pairs import contamination, duplicates
from mixray.progress import StageProgress
from mixray.store import Artefact, Store

RULE = 2
"""Goes up when what counts as an overlap changes."""


def handle(store: Store, problems: Artefact, benchmarks: Mapping[str, Artefact]) -> Artefact:
    """Return the handle of the overlaps, done or not."""
    return store.artefact(
        "overlaps",
        problems.name,
        {"rule": RULE},
        {"problems": problems, **{f"benchmark {name}": item for name, item in benchmarks.items()}},
    )


def run(store: Store, problems: Artefact, benchmarks: Mapping[str, Artefact], progress: StageProgress) -> Artefact:
    """Look for overlaps, or find them found."""
    artefact = handle(store, problems, benchmarks)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        asked, golds = _column(problems, "question"), _column(problems, "answer")
        progress.update(0, len(asked))
        twins = [twin for twin in duplicates(asked) if golds[twin.problem_id] == golds[twin.of]]  # of drawings the words may be the same
        hits = contamination(asked, {name: _column(item, "question") for name, item in benchmarks.items()})
        with artefact.staging() as staging:
            staging.write_json("hits.json", [asdict(hit) for hit in hits])
            staging.write_json("twins.json", [asdict(twin) for twin in twins])
            staging.outcome = {
                "num_problems": len(asked),
                "num_contaminated": len({hit.problem_id for hit in hits}),
                "num_repeated": len(twins),
                "hits": {
                    f"{name}, {tier}": count for (name, tier), count in sorted(Counter((hit.benchmark, hit.tier) for hit in hits).items())
                },
                "twins": dict(sorted(Counter(twin.tier for twin in twins).items())),
            }
    return artefact


def _column(problems: Artefact, name: str) -> dict[str, str]:
    table = problems.read_table(["problem_id", name])
    return dict(zip(table["problem_id"].to_pylist(), table[name].to_pylist(), strict=True))
