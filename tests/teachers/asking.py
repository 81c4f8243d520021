"""What tests of pools share: problems of a few words, a rule, and a teacher on the scripted engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.cloudpickle
import scripted_engine

from mixray.recipe import Teacher
from mixray.rows import PROBLEM
from mixray.store import Artefact, Store
from mixray.teachers import Rule
from mixray.verify import POLICY, verify

RULE = Rule(verify, POLICY, unboxed=False)
ray.cloudpickle.register_pickle_by_value(scripted_engine)  # Ray's workers do not have the tests on their path


def make_problems(store: Store, questions: list[str]) -> Artefact:
    rows = [
        {"problem_id": f"p{index}", "question": question, "answer": "4", "subject": question.split("?")[0], "level": 1}
        for index, question in enumerate(questions)
    ]
    artefact = store.artefact("problems", "asked", {"questions": questions})
    if not artefact.is_done():
        with artefact.staging() as staging:
            staging.write_table("part-00000.parquet", pa.Table.from_pylist(rows, schema=PROBLEM))
            staging.outcome = {"num_problems": len(rows)}
    return artefact


def scripted(model: str, folder: Path, **settings: Any) -> Teacher:
    engine = {"folder": str(folder), "max_num_seqs": 2} | settings.pop("engine", {})
    return Teacher(**({"model": model, "block_rows": 2, "max_failed_share": 1, "temperature": 1, "engine": engine} | settings))
