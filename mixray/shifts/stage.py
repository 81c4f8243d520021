"""The stage that asks how new to a student what it says is: the untouched student reads the responses of the arms made of it.

In: artefacts of kind `scores` (rows.SCORE) of arms of one student, and the untouched model. Out: for each arm an artefact of kind `shifts`:
`shifts.parquet` (SHIFT, a row per response) and `spellings.json` (its tokens as text). The report makes shares and lists of it.

The responses are drawn by the seed from all samples of the benchmarks asked for: of the same samples for every arm, and of more responses
the first are those of fewer. Left out are failed questions and responses that never began.

What survives a kill: the arms before the one in hand; each is written when its last block is there. The rest is read again, which takes
about what it takes to load the model.

The same responses give the same file on the same kind of machine, however many actors read: a response's block, and so the batch it is
read in, follows from the arm's responses alone. Another kind of machine rounds differently (see `forward`); the artefact's hash names none.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixray import models, rows
from mixray.errors import MixrayError
from mixray.placement import remote_options
from mixray.progress import StageProgress
from mixray.ray_data import errors_told, in_order, map_blocks, room_for_actors
from mixray.recipe import Shifts
from mixray.shifts.actor import ANSWERED, SHIFT, ShiftActor
from mixray.store import Artefact, Store

BLOCK_ROWS = 32
_ACTOR_ROWS = 256  # for fewer, another actor would not have started in time
_KEY = ["benchmark", "problem_id", "sample"]


@dataclass(frozen=True)
class Answered:
    """One arm: its name, its answers, and its weights; None is the untouched student itself."""

    name: str
    scores: Artefact
    trained: Artefact | None


def handle(store: Store, arm: Answered, model: str, settings: Shifts, prompts: Mapping[str, str], seed: int) -> Artefact:
    """Return the shifts of an arm of the untouched `model`, done or not; what is told of them, and on which machine, does not name them."""
    made_by = settings.model_dump(mode="json", include={"num_responses", "benchmarks", "against_own", "dtype"})
    made_by |= {"untouched": models.fingerprint(model), "prompts": dict(sorted(prompts.items())), "seed": seed}
    inputs = {"scores": arm.scores}
    if settings.against_own and arm.trained is not None:
        inputs["student"] = arm.trained
    return store.artefact("shifts", arm.name, made_by, inputs)


def run(
    store: Store, arms: Sequence[Answered], model: str, settings: Shifts, prompts: Mapping[str, str], seed: int, progress: StageProgress
) -> list[Artefact]:
    """Let the untouched student read what its arms answered, or find it read. Ray must be up.

    Args:
        store: where artefacts lie.
        arms: all of one student.
        model: that student, untouched (folder, `tiny:` name or hub id).
        settings: which responses, and how they are read.
        prompts: by benchmark, the user turn as it was asked, with `{question}`.
        seed: of the draw.
        progress: the stage's line on the terminal.

    Raises:
        MixrayError: the model cannot be loaded, its logits are not finite, or an actor did not keep running.
    """
    made = {arm.name: handle(store, arm, model, settings, prompts, seed) for arm in arms}
    with ExitStack() as locks:
        for artefact in sorted(made.values(), key=lambda artefact: artefact.label):  # in one order: no two runs wait for each other
            locks.enter_context(artefact.lock())
        waiting = [arm for arm in arms if not made[arm.name].is_done()]
        drawn = {arm.name: draw(arm.scores, settings, seed) for arm in waiting}
        reader = _Reader(models.resolve(model), settings, prompts, {arm.name: arm for arm in waiting})
        meter = _Meter(sum(len(answered) for answered in drawn.values()), progress)
        blocks = reader.blocks(drawn)
        for arm in waiting:
            _write(made[arm.name], drawn[arm.name], blocks, meter)
    return list(made.values())


def draw(scores: Artefact, settings: Shifts, seed: int) -> list[dict[str, Any]]:
    """Return an arm's ANSWERED rows that are read, the longest response first: those drawn of the samples that were answered."""
    wanted = _drawn(scores, settings, seed)
    found = []
    for table in scores.tables([name for name in ANSWERED.names if name != "arm"]):
        found += [{**row, "arm": scores.name} for row in table.to_pylist() if _key(row) in wanted]
    return sorted(found, key=lambda row: (-len(row["response"]), _key(row)))


def actors_for(num_responses: int) -> int:
    """Return how many actors are worth starting."""
    return math.ceil(num_responses / _ACTOR_ROWS)


def _drawn(scores: Artefact, settings: Shifts, seed: int) -> set[tuple[str, str, int]]:
    keys = []
    for table in scores.tables([*_KEY, "finish_reason", "response"]):
        began = pc.greater(pc.binary_length(table["response"]), 0)
        for row, is_text in zip(table.select([*_KEY, "finish_reason"]).to_pylist(), began.to_pylist(), strict=True):
            asked_for = settings.benchmarks is None or row["benchmark"] in settings.benchmarks
            if asked_for and row["finish_reason"] != "error" and (is_text or row["finish_reason"] == "stop"):
                keys.append(_key(row))
    return set(sorted(keys, key=lambda key: (rows.keyed_draw(seed, "shifts", *key), key))[: settings.num_responses])


def _key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["benchmark"], row["problem_id"], row["sample"]


@dataclass(frozen=True)
class _Reader:
    """The Ray Data job: blocks of responses through actors that hold the untouched student."""

    source: str
    settings: Shifts
    prompts: Mapping[str, str]
    arms: Mapping[str, Answered]

    def blocks(self, drawn: Mapping[str, list[dict[str, Any]]]) -> Iterator[pa.Table]:
        """Yield blocks of MADE rows, arm by arm in the order given; no block holds responses of two."""
        import ray
        from ray.data import ActorPoolStrategy

        parts = [answered[at : at + BLOCK_ROWS] for answered in drawn.values() for at in range(0, len(answered), BLOCK_ROWS)]
        if not parts:
            return
        own = {name: arm.trained for name, arm in self.arms.items() if self.settings.against_own and arm.trained is not None}
        num_gpus = self.settings.num_gpus
        actors = actors_for(sum(len(part) for part in parts))
        actors = min(room_for_actors(self.source, num_gpus, models_each=2 if own else 1, placed=self.settings), actors)
        own = {name: _absolute(trained) for name, trained in own.items()}
        with in_order(actors), errors_told(MixrayError, "Responses could not be read by the untouched student", f"student {self.source}"):
            read = map_blocks(
                ray.data.from_arrow([pa.Table.from_pylist(part, schema=ANSWERED) for part in parts]),
                ShiftActor,
                (self.source, own, dict(self.prompts), self.settings.dtype, self.settings.batch_tokens, num_gpus > 0),
                ActorPoolStrategy(min_size=1, max_size=actors),
                num_cpus=1,
                num_gpus=num_gpus,
                **remote_options(self.settings),
            )
            yield from read.iter_batches(batch_size=None, batch_format="pyarrow")


def _absolute(trained: Artefact) -> Artefact:
    """Return an artefact as an actor in another folder finds it."""
    return Artefact(Store(trained.store.absolute_url), trained.kind, trained.name, trained.hash, trained.made_by)


class _Meter:
    """Counts what comes back and shows it."""

    def __init__(self, total: int, progress: StageProgress) -> None:
        self.total, self.progress = total, progress
        self.rows = self.tokens = 0

    def add(self, block: pa.Table) -> None:
        self.rows += block.num_rows
        self.tokens += pc.sum(pc.list_value_length(block["ranks"])).as_py()
        self.progress.update(self.rows, self.total, tokens_per_second=self.progress.rate(self.tokens))


def _write(artefact: Artefact, answered: Sequence[Mapping[str, Any]], blocks: Iterator[pa.Table], meter: _Meter) -> None:
    """Commit one arm's shifts from the blocks that come next."""
    began = time.monotonic()
    parts: list[pa.Table] = []
    spellings: dict[str, str] = {}
    while sum(part.num_rows for part in parts) < len(answered) and (block := next(blocks, None)) is not None:
        meter.add(block)
        for told in block["spellings"].drop_null().to_pylist():
            spellings.update(json.loads(told))
        parts.append(block.select(SHIFT.names))
    table = pa.concat_tables([SHIFT.empty_table(), *parts])
    keys = [(row["benchmark"], row["problem_id"], row["sample"]) for row in table.select(_KEY).to_pylist()]
    if keys != [_key(row) for row in answered]:
        raise MixrayError("Some responses were not read", seen=f"{len(keys)} of {len(answered)}", rule=artefact.label)
    with artefact.staging() as staging:
        staging.write_table("shifts.parquet", table)
        staging.write_json("spellings.json", spellings)
        staging.outcome = _outcome(table) | {"seconds": round(time.monotonic() - began, 3)}


def _outcome(table: pa.Table) -> dict[str, Any]:
    """Return what there is to tell of one arm.

    `num_asked_otherwise` prompts and `num_counted_otherwise` responses have more or fewer tokens here than where they were asked.
    """
    ranks = pc.list_flatten(table["ranks"])

    def count(flags: Any) -> int:
        return int(pc.sum(flags).as_py() or 0)

    return {
        "num_responses": table.num_rows,
        "num_tokens": len(ranks),
        "unshifted": count(pc.equal(ranks, 1)) / max(1, len(ranks)),
        "num_asked_otherwise": count(pc.not_equal(table["num_prompt_tokens"], table["num_prompt_tokens_asked"])),
        "num_counted_otherwise": count(pc.not_equal(pc.list_value_length(table["ranks"]), table["num_tokens_sampled"])),
    }
