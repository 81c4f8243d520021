"""The benchmark of mixing: a million rows against the same selection in plain pyarrow, and against the interleaving of `datasets`.

Both sides read parquet and write parquet, each in a process of its own, so that its memory can be told. The pools are made up: two of a
million traces each, questions of a hundred characters, responses of 300 and 900. What counting their tokens would have come to is made up
with them (candidates are an artefact that every later mixture reads); the mixture's own work is all there, verifying checksums included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from benchmark import ROUNDS, tell

NUM_ROWS = 1_000_000
STREAMED_ROWS = 50_000
MOST_BYTES = 1.5 * 10**9
ALPHA = 0.2
LENGTHS = {"long": 900, "short": 300}
READY = ["messages", "problem_id", "trace_id"]


def measure() -> Iterator[dict[str, object]]:
    """Run every side in turns and tell the ratios of rows per second, and the peak of memory."""
    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as folder:
        _child("make", folder)
        others = ("pyarrow", "interleave", "streaming")
        rounds: dict[str, list[dict[str, float]]] = {side: [] for side in ("mixray", *others)}
        for number in range(ROUNDS + 1):
            for side in rounds:
                told = _child(side, folder, number)
                if number:
                    rounds[side].append(told)
        ours = [told["rows_per_second"] for told in rounds["mixray"]]
        for side, target in zip(others, (1.0, 5.0, 40.0), strict=True):
            theirs = [told["rows_per_second"] for told in rounds[side]]
            yield tell(f"mixing a million rows over {side}", [mine / other for mine, other in zip(ours, theirs, strict=True)], target)
        peaks = [told["peak_bytes"] for told in rounds["mixray"]]
        yield {
            "name": "peak memory of mixing a million rows, bytes", "ratio": statistics.median(peaks), "low": min(peaks), "high": max(peaks),
            "rounds": len(peaks), "target": MOST_BYTES, "met": max(peaks) <= MOST_BYTES,
        }  # fmt: skip


def further_alpha() -> dict[str, object]:
    """Make the pools and two mixtures of a small recipe, then another alpha of the same; tell how many times longer the first took."""
    from mixray.mixing import shelf
    from mixray.pipeline import make_mixtures
    from mixray.progress import Display
    from mixray.recipe_file import load_recipe
    from mixray.store import Store

    def build(alpha: float, store: Store) -> float:
        recipe = load_recipe("tiny", ["problems.num_problems=400", f"mixtures.mix.alpha=[{alpha}]"])
        began = time.perf_counter()
        with Display(quiet=True) as display:
            make_mixtures(recipe, store, display)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as folder:
        store = Store(folder)
        first = build(0.1, store)
        before = {path: path.stat().st_mtime_ns for path in Path(folder, "pools").rglob("*")}
        further = [build(alpha, store) for alpha in (0.2, 0.3, 0.4, 0.5, 0.6)]
        asked_again = before != {path: path.stat().st_mtime_ns for path in Path(folder, "pools").rglob("*")}
        told = tell("first mixture with its pools over a further alpha", [first / seconds for seconds in further], 50.0)
        return told | {"met": told["met"] and not asked_again and len(shelf.mixtures(store)) == 6}


def _child(side: str, folder: str, number: int = 0) -> dict[str, float]:
    command = [sys.executable, __file__, side, folder, str(number)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout
    return dict(json.loads(told.strip().splitlines()[-1]))


def make(folder: Path, num_rows: int = NUM_ROWS) -> None:
    """Write the pools, what a student's tokenizer would have counted, and the same traces as ready rows."""
    from mixray import rows
    from mixray.mixing import candidates
    from mixray.mixing.views import Lesson
    from mixray.rows import keyed_draw
    from mixray.store import Store

    store = Store(str(folder / "runs"))
    overlaps = store.artefact("overlaps", "train", {})
    with overlaps.staging() as staging:
        staging.write_json("hits.json", [])
        staging.write_json("twins.json", [])
    ids = pa.array([f"problem-{number:07d}" for number in range(num_rows)])
    key = np.array([keyed_draw(item) for item in ids.to_pylist()], np.uint64)
    question = pc.binary_join_element_wise("What is the value of ", pc.replace_substring(ids, "problem-", ""), " and so on? " * 6, "")
    for pool, length in LENGTHS.items():
        texts = np.random.default_rng(length).integers(32, 126, (num_rows, length // 3), np.uint8).view(f"S{length // 3}").ravel()
        text = pc.binary_repeat(pa.array(texts, pa.binary()).cast(pa.string()), 3)
        table = pa.table(
            {"problem_id": ids, "question": question, "response": text, "trace_id": pc.binary_join_element_wise(ids, pool, "/")}
        )
        columns = [
            table[name] if name in table.column_names else pa.nulls(num_rows, rows.TRACE.field(name).type) for name in rows.TRACE.names
        ]
        artefact = store.artefact("pools", pool, {})
        with artefact.staging() as staging:
            pq.write_table(
                pa.Table.from_arrays(columns, schema=rows.TRACE),
                staging.folder / "traces.parquet",
                compression="zstd",
                row_group_size=2**14,
            )
        counted = {
            "row": np.arange(num_rows), "problem_id": ids, "problem_key": key, "question_key": key, "trace_key": key ^ np.uint64(length),
            "likeness": key ^ np.uint64(length), "sample": np.zeros(num_rows, np.int32), "subject": pa.nulls(num_rows, pa.string()),
            "level": pa.nulls(num_rows, pa.int32()), "num_characters": np.full(num_rows, length, np.int32),
            "num_tokens": np.full(num_rows, length // 3, np.int32) + (key % 50).astype(np.int32),
            "num_loss_tokens": np.full(num_rows, length // 4, np.int32), "repetition": np.zeros(num_rows), "foreign": np.zeros(num_rows),
            "pass_rate": np.ones(num_rows),
        }  # fmt: skip
        handle = candidates.handle(store, artefact, Lesson("{question}"), "tiny:student-s")
        with handle.staging() as staging:
            staging.write_table("candidates.parquet", pa.table(counted, schema=candidates.CANDIDATE))
        roles = pa.array(["user", "assistant"]).take(pa.array(np.tile([0, 1], num_rows)))
        contents = pa.chunked_array([question, text]).combine_chunks().take(pa.array(np.arange(2 * num_rows).reshape(2, -1).T.ravel()))
        messages = pa.StructArray.from_arrays([roles, contents], fields=list(rows.MESSAGE))
        listed = pa.ListArray.from_arrays(pa.array(np.arange(num_rows + 1, dtype=np.int32) * 2), messages)
        ready = pa.table({"messages": listed, "problem_id": ids, "trace_id": table["trace_id"]})
        pq.write_table(ready, folder / f"{pool}.parquet", compression="zstd", row_group_size=2**14)


def mixray(folder: Path, number: int) -> int:
    """Mix with mixray."""
    from mixray import mixing
    from mixray.progress import Display
    from mixray.recipe import Blend
    from mixray.store import Store

    store = Store(str(folder / "runs"))
    pools = {name: store.artefact("pools", name, {}) for name in LENGTHS}
    made_of = mixing.Ingredients(
        Blend(hard="long", easy="short"),
        ALPHA,
        pools,
        store.artefact("overlaps", "train", {}),
        "tiny:student-s",
        "{question}",
        10**6,
        number,
    )
    with Display(quiet=True) as display:
        made = mixing.run(store, f"mix{number}", made_of, display.stage("mix"))
    num_rows = int(made.outcome["num_rows"])
    store.fs.rm(made.path, recursive=True)
    return num_rows


def pyarrow(folder: Path, number: int) -> int:
    """Take rows that are ready, by numbers that are known, and put them in their order."""
    hard, easy = (pq.read_table(folder / f"{name}.parquet") for name in LENGTHS)
    order = np.random.default_rng(number).permutation(NUM_ROWS)
    cut = round(ALPHA * NUM_ROWS)
    both = pa.concat_tables([hard.take(np.sort(order[:cut])), easy.take(np.sort(order[cut:]))])
    pq.write_table(both.take(np.random.default_rng(number + 1).permutation(NUM_ROWS)), folder / "out.parquet", compression="zstd")
    return NUM_ROWS


def interleave(folder: Path, number: int) -> int:
    """Interleave with `datasets`, map style: rows by chance, until one pool is at its end."""
    import datasets

    datasets.disable_progress_bars()
    both = [datasets.Dataset.from_parquet(str(folder / f"{name}.parquet"), cache_dir=str(folder / "cache")) for name in LENGTHS]
    mixed = datasets.interleave_datasets(both, probabilities=[ALPHA, 1 - ALPHA], seed=number, stopping_strategy="first_exhausted")
    mixed = mixed.select(range(min(NUM_ROWS, len(mixed))))
    mixed.to_parquet(folder / "out.parquet")
    return len(mixed)


def streaming(folder: Path, number: int) -> int:
    """Interleave with `datasets`, streaming, a part of the rows."""
    import datasets

    both = [datasets.load_dataset("parquet", data_files=str(folder / f"{name}.parquet"), split="train", streaming=True) for name in LENGTHS]
    mixed = datasets.interleave_datasets(both, probabilities=[ALPHA, 1 - ALPHA], seed=number).take(STREAMED_ROWS)
    found: list[dict[str, Any]] = list(mixed)
    pq.write_table(pa.Table.from_pylist(found), folder / "out.parquet", compression="zstd")
    return len(found)


def main() -> None:
    """Run one side and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("make", "mixray", "pyarrow", "interleave", "streaming"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int, nargs="?", default=0)
    asked = parser.parse_args()
    if asked.side == "make":
        make(asked.folder)
        print("{}")
        return
    _warm(asked.side)
    began = time.perf_counter()
    num_rows = {"mixray": mixray, "pyarrow": pyarrow, "interleave": interleave, "streaming": streaming}[asked.side](
        asked.folder, asked.number
    )
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows_per_second": num_rows / took, "seconds": took, "peak_bytes": peak}))


def _warm(side: str) -> None:
    """Import what a side needs before its clock runs."""
    if side == "mixray":
        import transformers  # noqa: F401

        import mixray.mixing  # noqa: F401
    elif side != "pyarrow":
        import datasets  # noqa: F401


if __name__ == "__main__":
    main()
