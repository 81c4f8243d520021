"""The card of a mixture: a data set's README.md, as the Hugging Face hub and people read it.

In: a mixture, with its pools and overlaps where they are still there. Out: text. The figures are those of the manifests, which the report
reads, too.
"""

from __future__ import annotations

from typing import Any

from mixray.card import code, columns_table, contamination, data_set_head, license_told, page, table, teachers_of, teachers_table
from mixray.errors import MixtureError
from mixray.hub import check_license
from mixray.mixing import shelf, words
from mixray.rows import EXAMPLE
from mixray.store import Artefact

SPLIT = "train"
SHARDS = f"data/{SPLIT}-*.parquet"
COLUMNS = {
    "messages": "the turns; the last one is learned", "problem_id": "of the problem", "trace_id": "of the trace in its pool",
    "pool": "whose trace it is", "num_tokens": "of the whole conversation, or of what is left where it is cut",
    "num_loss_tokens": "of what is learned",
    "subject": "of the problem, where it is known", "level": "of the problem; 0 where it is not known",
}  # fmt: skip


def card(mixture: Artefact, license_id: str | None = None) -> str:
    """Return a data set's README.md: what the hub reads at its head, and what people read below.

    Raises:
        MixtureError: the license is none.
    """
    if license_id is not None:
        check_license(license_id, MixtureError)
    out, hashes = mixture.outcome, shelf.pool_hashes(mixture)
    pools = {
        name: {"hash": hashes.get(name), "asked": out["shares"].get(name), **counts} for name, counts in out["pools"].items()
    }  # fmt: skip
    num_bytes = sum(entry["bytes"] for entry in mixture.manifest()["files"] if entry["path"].endswith(".parquet"))
    head = data_set_head(mixture.name, license_id, EXAMPLE, out["num_rows"], num_bytes, SHARDS) | {
        "mixray": {"mixture": mixture.name, "hash": mixture.hash, "alpha": out["alpha"], "by": out["by"], "pools": pools}
    }
    teachers = teachers_of(mixture.store, hashes)
    return page(
        head,
        [
            f"# {mixture.name}",
            f"{out['num_rows']:,} conversations over {out['num_problems']:,} problems, by {len(out['pools'])} teachers, for supervised "
            "fine-tuning. The rows lie in training order; `messages` is what is trained, the other columns say where a row is from.",
            license_told(license_id, "the teachers' models"),
            "## Shares",
            _shares(mixture, out, hashes),
            "## Teachers",
            "Every trace was judged against the gold answer; a mixture takes right ones alone.",
            teachers_table(teachers),
            "## What was left out",
            _steps(out),
            *filter(None, [words.cut_in_words(out)]),
            contamination(mixture),
            "## Columns",
            columns_table(EXAMPLE, COLUMNS),
            "## Limits",
            "Right is said of the final answer by a rule; the reasoning before it was not judged. Problems that no teacher solved are left "
            "out, so it is easier than the problems it was drawn from. Token counts are those of one student's tokenizer.",
            f"Made by mixray as `{mixture.label}`: the hash covers every setting, and the hashes of the pools.",
        ],
    )


def _shares(mixture: Artefact, out: dict[str, Any], hashes: dict[str, str]) -> str:
    shares, rows = shelf.shares_of(mixture), []
    for name, counts in out["pools"].items():
        asked = out["shares"].get(name)
        cells = [f"{counts[count]:,} ({shares[name][count]:.1%})" for count in shelf.COUNTS]
        rows.append([name, "-" if asked is None else f"{asked:.1%}", *cells, code(f"pools/{name}-{hashes.get(name)}")])
    return table(["pool", f"asked of {_words(out['by'])}", "rows", "tokens", "loss tokens", "made from"], rows)


def _steps(out: dict[str, Any]) -> str:
    rows = [
        [
            step["step"],
            f"{step['dropped_problems']:,}",
            f"{step['dropped_rows']:,}",
            f"{sum(pool['rows'] for pool in step['pools'].values()):,}",
        ]
        for step in out["steps"]
    ]
    return table(["step", "dropped problems", "dropped rows", "rows left"], rows)


def _words(count: str) -> str:
    return count.replace("_", " ")
