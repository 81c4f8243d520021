"""The training stage: mixture and student model in, a Hugging Face folder out.

First the batch plan becomes an artefact of its own (kind `plans`); then Ray Train runs the loop on the recipe's workers, restarting them
from the last checkpoint when they die. What survives a kill: the plan, the checkpoints, the finished student.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixray.chat import encode, load_tokenizer, show
from mixray.errors import MixrayError, TrainingError
from mixray.models import fingerprint, resolve, tokenizer_fingerprint
from mixray.progress import StageProgress
from mixray.recipe import Train
from mixray.staging import Staging
from mixray.store import Artefact, Store
from mixray.threads import side_by_side
from mixray.training.card import LICENSE_UNKNOWN, card, facts_of, license_of_model
from mixray.training.job import STATE, STUDENT, Job, train_worker
from mixray.training.plan import Step, batch_plan

# What changes how a training runs but not what it computes stays out of the hash.
EXECUTION = {"use_gpu", "max_failures", "checkpoint_every_steps"}
log = logging.getLogger("mixray.training")
PLAN_RULE = 2
"""Goes up when the same rows would be planned otherwise."""
TOKENS = pa.schema([("ids", pa.list_(pa.int32())), ("num_loss_tokens", pa.int32())])
PLAN = pa.schema([("packs", pa.list_(pa.list_(pa.int32()))), ("num_loss_tokens", pa.int64())])


def handle(store: Store, arm: str, mixture: Artefact, model: str, train: Train, seed: int) -> Artefact:
    """Return the artefact of a trained student, done or not."""
    settings = {
        "plan_rule": PLAN_RULE,
        "model": fingerprint(model),
        "train": train.model_dump(mode="json", exclude=EXECUTION),
        "seed": seed,
    }
    return store.artefact("students", arm, settings, {"mixture": mixture})


def run(store: Store, arm: str, mixture: Artefact, model: str, train: Train, seed: int, progress: StageProgress) -> Artefact:
    """Train one arm, or find it trained.

    Raises:
        TrainingError: a row cannot be trained, the loss diverged, or workers died more often than the recipe allows.
    """
    student = handle(store, arm, mixture, model, train, seed)
    with student.lock():
        if student.is_done():
            return student
        source = resolve(model)
        plan = _plan(store, mixture, source, train, seed)
        started = time.monotonic()
        checkpoint = _fit(store, student, plan, source, train, seed, progress)
        with student.staging() as staging, checkpoint.as_directory() as folder:
            _lay_out(staging, Path(folder), student, mixture, plan, model, train, time.monotonic() - started)
    return student


def _plan(store: Store, mixture: Artefact, source: str, train: Train, seed: int) -> Artefact:
    """Tokenise the mixture and write the batch plan, or find it written."""
    sizes = train.model_dump(include={"epochs", "batch_rows", "max_tokens", "pack_tokens", "packs_multiple"})
    plan = store.artefact(
        "plans", mixture.name, {"rule": PLAN_RULE, "tokenizer": tokenizer_fingerprint(source), "seed": seed, **sizes}, {"mixture": mixture}
    )
    with plan.lock():
        if plan.is_done():
            return plan
        rows = mixture.read_table(["messages", "problem_id"]).to_pylist()
        tokenizer = load_tokenizer(source)
        encoded = [encode(tokenizer, row["messages"]) for row in rows]
        steps = batch_plan(
            _places(row["problem_id"] for row in rows),
            [len(row.ids) for row in encoded],
            [row.num_loss_tokens for row in encoded],
            epochs=train.epochs,
            batch_rows=train.batch_rows,
            pack_tokens=train.pack_tokens or train.max_tokens,
            packs_multiple=train.packs_multiple,
            seed=seed,
            keeps_order=mixture.outcome["order"] != "shuffled",
        )
        tokens = [{"ids": row.ids, "num_loss_tokens": row.num_loss_tokens} for row in encoded]
        with plan.staging() as staging:
            staging.write_table("tokens.parquet", pa.Table.from_pylist(tokens, schema=TOKENS))
            staging.write_table("plan.parquet", plan_table(steps))
            staging.outcome = {
                "num_steps": len(steps),
                "num_rows": len(rows),
                "num_packs": sum(len(step.packs) for step in steps),
                "num_tokens": sum(len(row.ids) for row in encoded),
                "num_loss_tokens": sum(row.num_loss_tokens for row in encoded),
                "example": show(tokenizer, encoded[0]),
            }
    return plan


def _places(problem_ids: Iterable[str]) -> list[str]:
    """Return what orders each row: its problem, numbered where it comes again.

    Not its trace: in arms that differ in the teacher of a problem, the problem is seen at the same step, so they differ in nothing else.
    """
    seen: Counter[str] = Counter()
    found = []
    for problem_id in problem_ids:
        found.append(f"{problem_id}/{seen[problem_id]}" if problem_id in seen else problem_id)
        seen[problem_id] += 1
    return found


def plan_table(steps: list[Step]) -> pa.Table:
    """Return the steps as Arrow rows."""
    return pa.Table.from_pylist(
        [{"packs": [list(pack) for pack in step.packs], "num_loss_tokens": step.num_loss_tokens} for step in steps], schema=PLAN
    )


def _fit(store: Store, student: Artefact, plan: Artefact, source: str, train: Train, seed: int, progress: StageProgress) -> Any:
    """Run the loop on Ray Train and return the checkpoint that holds the finished student."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    plan.verify()
    log.info("%s: one training example, the trained part after the mark:\n%s", student.label, plan.outcome["example"])
    store.fs.makedirs(student.work_path, exist_ok=True)
    job = Job(store.url, plan.path, f"{student.work_path}/progress.json", source, train, seed)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend=None if train.use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=train.num_workers, use_gpu=train.use_gpu),
        run_config=RunConfig(
            name="train",
            storage_path=student.work_path,
            storage_filesystem=store.arrow_fs,
            failure_config=FailureConfig(max_failures=train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    result = _watch(trainer, store, job.progress_path, student, progress)
    if result.checkpoint is None:
        raise TrainingError("A training ended without a student", seen=student.label, do=f"remove {student.work_path} and run again")
    return result.checkpoint


def _cause(error: Exception, student: Artefact) -> Exception:
    """Return the mixray error a worker raised, or one that tells what Ray said."""
    seen: BaseException | None = error
    candidates: list[BaseException] = []
    while seen is not None:
        candidates += [seen, *getattr(seen, "worker_failures", {}).values()]
        seen = seen.__cause__
    for candidate in candidates:
        inner = getattr(candidate, "cause", candidate)
        if isinstance(inner, MixrayError):
            return inner
    lines = [line for line in str(error).splitlines() if line.strip()]
    return TrainingError(
        "A training failed",
        seen=f"{student.label}: {lines[-1] if lines else type(error).__name__}",
        do="see the log file, then run the same command",
    )


def _watch(trainer: Any, store: Store, path: str, student: Artefact, progress: StageProgress) -> Any:
    """Run a trainer beside the main thread and show, meanwhile, the step that rank 0 writes down every second.

    On the main thread Ray Train would take over Ctrl-C, wait for its workers and then leave without a word; here the interrupt
    is raised as usual and the end of the Ray session ends the workers.
    """

    def show() -> None:
        with contextlib.suppress(FileNotFoundError, ValueError):  # not written yet, or being written
            state = json.loads(store.fs.cat_file(path))
            rate = state["loss_tokens_per_second"]
            progress.update(state["step"], state["num_steps"], loss=state["loss"], loss_tokens_per_second=rate)

    try:
        ((_, result),) = side_by_side([trainer.fit], meanwhile=show)
    except Exception as error:  # Ray wraps what a worker raised: the user needs the cause, not the wrapping
        raise _cause(error, student) from error
    return result


def _lay_out(
    staging: Staging, folder: Path, student: Artefact, mixture: Artefact, plan: Artefact, model: str, train: Train, seconds: float
) -> None:
    """Fill the student's folder: weights, tokenizer, card, the loss curve in full digits."""
    shutil.copytree(folder / STUDENT, staging.folder, dirs_exist_ok=True)
    curve = json.loads((folder / STATE).read_text(encoding="utf-8"))
    staging.write_json("training_curve.json", curve)
    planned = {key: value for key, value in plan.outcome.items() if key != "example"}
    staging.outcome = {
        **planned,
        "seconds": round(seconds, 3),
        "first_loss": curve["loss"][0],
        "last_loss": curve["loss"][-1],
        "base_model": model,
    }
    told = facts_of(student, staging.outcome, mixture, license_id=license_of_model(model) or LICENSE_UNKNOWN)
    (staging.folder / "README.md").write_text(card(told), encoding="utf-8")
