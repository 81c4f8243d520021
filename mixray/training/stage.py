"""The training stage: mixture and student model in, a Hugging Face folder out.

First the mixture's tokens (kind `tokens`) and the batch plan (kind `plans`) become artefacts of their own; then Ray Train runs the loop on
the recipe's workers, restarting them from the last checkpoint when they die. What survives a kill: tokens, plan, checkpoints, the student.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mixray.card import LICENSE_UNKNOWN
from mixray.chat import Encoded, show
from mixray.models import fingerprint, resolve
from mixray.progress import StageProgress
from mixray.recipe import PLACEMENT, Train
from mixray.staging import Staging
from mixray.store import Artefact, Store
from mixray.training import tokens as tokens_stage
from mixray.training.card import card, facts_of
from mixray.training.checks import check_rows, check_tokenizer, ready_tokenizer
from mixray.training.fit import check_room, fit
from mixray.training.job import STUDENT, Job
from mixray.training.license import license_of_model
from mixray.training.plan import PLAN_RULE, Sizes, batch_plan, efficiency, plan_table
from mixray.training.state import RECORDS, Records, read_state
from mixray.training.tokens import TokenRows

# What changes how a training runs but not what it computes, but for rounding, stays out of the hash.
EXECUTION = {
    "preset", "departures", "zero_stage", "offload_optimizer", "offload_parameters", "gradient_checkpointing", "attention", "liger",
    "loss_chunk_bytes", "micro_batch_tokens", "arms_at_once", "workers", "use_gpu", "cpus_per_worker", "node_wait_minutes", "max_failures",
    "checkpoint_every_steps", "checkpoint_every_minutes", "keep_checkpoints", "wandb", "mlflow", *PLACEMENT,
}  # fmt: skip
log = logging.getLogger("mixray.training")


def handle(store: Store, arm: str, mixture: Artefact, model: str, train: Train, seed: int) -> Artefact:
    """Return the artefact of a trained student, done or not."""
    settings = {
        "plan_rule": PLAN_RULE,
        "tokens_rule": tokens_stage.RULE,
        "model": fingerprint(model),
        "train": train.model_dump(mode="json", exclude=EXECUTION),
        "seed": seed,
    }
    return store.artefact("students", arm, settings, {"mixture": mixture})


def check(train: Train) -> None:
    """Look at a recipe's optimizer and DeepSpeed settings before anything is made for them.

    Raises:
        TrainingError: workers would refuse them.
    """
    from mixray.training.settings import check_settings  # torch: whoever finds everything made need not wait for it

    check_settings(train)


def check_students(asked: Iterable[tuple[str, Train]]) -> None:
    """Look at settings, and at the tokenizers of the models they are for, before anything is made for them.

    Raises:
        TrainingError: workers would refuse them (see `check` and `checks.check_tokenizer`).
        MixrayError: a tokenizer cannot be loaded, or has no chat template.
    """
    known = set()
    for model, train in asked:
        check(train)
        if (model, train.pad_token) not in known:
            check_tokenizer(model, train.pad_token)
        known.add((model, train.pad_token))


def run(store: Store, arm: str, mixture: Artefact, model: str, train: Train, seed: int, progress: StageProgress) -> Artefact:
    """Train one arm, or find it trained. Ray must be up.

    Raises:
        TrainingError: a row or the student cannot be trained, the loss diverged, memory ran out, or workers died more often than allowed.
        ClusterError: the cluster cannot hold the workers.
    """
    student = handle(store, arm, mixture, model, train, seed)
    with student.lock():
        if student.is_done():
            return student
        check_room(train)
        source = resolve(model)
        tokenizer = ready_tokenizer(source, train.pad_token)
        tokens = tokens_stage.run(store, mixture, source, progress, train.cut_to)
        rows = TokenRows.open(tokens)
        check_rows(rows, tokenizer, train.cut_to)
        plan = _plan(store, mixture, tokens, rows, train, seed)
        example = show(tokenizer, Encoded(rows[0].ids.tolist(), rows[0].num_loss_tokens))
        log.info("%s: one training example, the trained part after the mark:\n%s", student.label, example)
        started = time.monotonic()
        paths = (tokens.folder, plan.folder, student.work_path)
        job = Job(store.absolute_url, student.label, arm, *paths, model, source, train, seed, student.fence)
        checkpoint = fit(store, student, job, plan.outcome["num_steps"], progress)
        with student.staging() as staging, checkpoint.as_directory() as folder:
            _lay_out(staging, Path(folder), student, mixture, plan, model, time.monotonic() - started)
    return student


def _plan(store: Store, mixture: Artefact, tokens: Artefact, rows: TokenRows, train: Train, seed: int) -> Artefact:
    """Decide the batch plan, or find it decided."""
    sizes = Sizes(train.batch_rows, train.batch_tokens, train.pack_tokens or train.max_tokens, train.epochs, train.packs_multiple)
    stretches = mixture.outcome.get("stretches", ())
    settings = {"rule": PLAN_RULE, "seed": seed, **vars(sizes), **({"stretches": stretches} if stretches else {})}
    plan = store.artefact("plans", mixture.name, settings, {"tokens": tokens})
    with plan.lock():
        if plan.is_done():
            return plan
        steps = list(
            batch_plan(
                _places(rows.problem_ids.to_pylist()),
                [rows.length(row) for row in range(len(rows))],
                rows.num_loss_tokens.tolist(),
                sizes,
                seed=seed,
                stretches=stretches,
            )
        )
        with plan.staging() as staging:
            staging.write_table("plan.parquet", plan_table(steps))
            staging.outcome = {
                "num_steps": len(steps),
                "num_packs": sum(len(step.packs) for step in steps),
                "efficiency": efficiency(steps, sizes.pack_tokens),
                **tokens.outcome,
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


def _lay_out(staging: Staging, folder: Path, student: Artefact, mixture: Artefact, plan: Artefact, model: str, seconds: float) -> None:
    """Fill the student's folder: weights, tokenizer, card, a row for each step in full digits."""
    _, records = read_state(folder)
    shutil.copytree(folder / STUDENT, staging.folder, dirs_exist_ok=True)
    shutil.copyfile(folder / RECORDS, staging.folder / RECORDS)
    staging.outcome = _outcome(plan.outcome, records, model, seconds)
    told = facts_of(student, staging.outcome, mixture, license_id=license_of_model(model) or LICENSE_UNKNOWN)
    (staging.folder / "README.md").write_text(card(told), encoding="utf-8")


def _outcome(planned: dict[str, Any], records: Records, model: str, seconds: float) -> dict[str, Any]:
    return {
        **planned,
        "base_model": model,
        # Of a training that was killed and gone on with, the last run's time is less than that of the steps it found done.
        "seconds": round(max(seconds, sum(record["seconds"] for record in records)), 3),
        "first_loss": records[0]["loss"],
        "last_loss": records[-1]["loss"],
    }
