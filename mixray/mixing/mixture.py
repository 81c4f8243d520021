"""The stage that mixes: pools of verified traces in, the training rows of one mixture out.

In: artefacts of kind `pools` (rows.TRACE), one blend at one alpha, the student's tokenizer, and what problems and benchmarks have in
common. Out: an artefact of kind `mixtures`: rows.EXAMPLE in the order of the training, `shares.json`, and an outcome that tells every
share and drop. What survives a kill: nothing unfinished; what costs is kept in artefacts of its own (candidates.py, fit.py), the rule
is cheap and starts again.

Over-length policy: traces longer than `max_tokens` are left out before samples are picked and problems shared, so every alpha of a blend
has the same problems, and shares stay exact. Where a recipe asks for cutting (`train.too_long`, a control) they stay, as long as their
prompt leaves something to train: counts and shares are then of what is left of them, while the text of a row stays whole, since the cut is
of tokens (training/tokens.py). `before` tells the shares the rule would have come to without this limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixray import models
from mixray.mixing import candidates, fit, writing
from mixray.mixing.draws import Codes
from mixray.mixing.dropping import drop
from mixray.mixing.gathering import COLUMNS, Gathered, cut, gather
from mixray.mixing.ordering import stretches
from mixray.mixing.rule import Rule
from mixray.mixing.selection import select
from mixray.mixing.shares import TOO_LONG, Ledger, shares
from mixray.mixing.views import Lesson
from mixray.progress import StageProgress
from mixray.recipe import Blend, Train
from mixray.store import Artefact, Store

NO_LIMIT = 2**31
RULE = 1
"""Goes up when the same pools and settings would give other rows."""
ORDER_RULE = 1
"""Goes up when ordered rows would be told, or cut into stretches, otherwise."""


@dataclass(frozen=True)
class Ingredients:
    """What one mixture is made of.

    Attributes:
        blend: which pools, and by which rule.
        alpha: the hard pool's share, where the blend is one of two pools.
        pools: the artefact of each pool, the hardest first.
        overlaps: what the problems have in common with one another and with the benchmarks.
        student: folder, `tiny:` name or hub id; its tokenizer counts the tokens.
        student_prompt: the user turn, with `{question}`.
        max_tokens: longer examples are left out.
        seed: of the keyed draws.
        train: how the arms are trained, which says where the student reads the pools; anywhere where None.
        cuts: longer examples are cut rather than left out.
    """

    blend: Blend
    alpha: float | None
    pools: Mapping[str, Artefact]
    overlaps: Artefact
    student: str
    student_prompt: str
    max_tokens: int
    seed: int
    train: Train | None = None
    cuts: bool = False

    def lesson(self, pool: str) -> Lesson:
        """Return how a pool's traces are taught."""
        return Lesson(self.student_prompt, self.blend.view_of(pool), self.blend.tags.get(pool) or None)

    @property
    def rule(self) -> Rule:
        """The rule of the mixture."""
        return Rule(self.blend, tuple(self.blend.shares(self.alpha).values()), self.seed)

    def fits(self, store: Store) -> dict[str, Artefact]:
        """Return the handles of the student's measures of each pool, where the blend asks for them."""
        if not self.blend.needs_fit:
            return {}
        return {
            name: fit.handle(store, pool, self.student, self.student_prompt, self.max_tokens, self.cuts)
            for name, pool in self.pools.items()
        }


def handle(store: Store, name: str, made_of: Ingredients) -> Artefact:
    """Return the handle of one mixture, done or not."""
    settings = {
        "rule": RULE,
        "blend": made_of.blend.model_dump(mode="json", exclude={"hard", "easy", "alpha", "pools", "view", "tags", "fit"}),
        "fit": made_of.blend.fit if made_of.blend.needs_fit else None,
        "lessons": [[pool, made_of.lesson(pool).settings()] for pool in made_of.pools],
        "alpha": made_of.alpha,
        "shares": [[pool, str(share)] for pool, share in made_of.blend.shares(made_of.alpha).items()],
        "rounds_up": made_of.rule.rounds_up,
        "seed": made_of.seed,
        "tokenizer": models.tokenizer_fingerprint(made_of.student),
        "max_tokens": made_of.max_tokens,
        **({"too_long": "cut"} if made_of.cuts else {}),
        **({"order_rule": ORDER_RULE} if made_of.rule.is_ordered else {}),
    }
    inputs = {f"pool {pool}": artefact for pool, artefact in made_of.pools.items()}
    inputs |= {f"fit {pool}": artefact for pool, artefact in made_of.fits(store).items()}
    if "drop" in (made_of.blend.duplicates, made_of.blend.contaminated):  # else another benchmark changes nothing
        inputs["overlaps"] = made_of.overlaps
    return store.artefact("mixtures", name, settings, inputs)


def run(store: Store, name: str, made_of: Ingredients, progress: StageProgress) -> Artefact:
    """Make one mixture, or find it made.

    Raises:
        MixtureError: the pools were asked different questions, or hold too little.
    """
    artefact = handle(store, name, made_of)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        for pool in made_of.pools.values():
            pool.verify()
        whole = _gather(store, made_of, progress)
        found = cut(whole, made_of.max_tokens) if made_of.cuts else whole
        ledger, before = Ledger(found), Ledger(whole)
        repeated, contaminated = _overlapping(made_of.overlaps)
        alive = drop(found, made_of.blend, repeated, contaminated, made_of.max_tokens, ledger)
        rows, eligible = select(found, alive, made_of.rule)
        ledger.note("shared and picked", eligible)
        ledger.note("mixture", _mask(found, rows))
        if any(ledger.dropped(TOO_LONG).values()) or found.num_cut.any():
            without_limit = drop(whole, made_of.blend, repeated, contaminated, NO_LIMIT, before)
            before.note("mixture", _mask(whole, select(whole, without_limit, made_of.rule)[0]))
        with artefact.staging() as staging:
            lessons = {pool: made_of.lesson(pool) for pool in made_of.pools}
            writing.write(staging.folder, found, rows, made_of.pools, lessons, progress)
            staging.write_json("shares.json", ledger.cells())
            staging.outcome = outcome(made_of, found, rows, ledger, before)
    return artefact


def _overlapping(overlaps: Artefact) -> tuple[dict[str, str], set[str]]:
    """Return the ids of the problems that repeat another one, with the other, and of those that a benchmark asks."""
    overlaps.verify()
    twins, hits = overlaps.read_json("twins.json"), overlaps.read_json("hits.json")
    return {twin["problem_id"]: twin["of"] for twin in twins}, {hit["problem_id"] for hit in hits}


def _gather(store: Store, made_of: Ingredients, progress: StageProgress) -> Gathered:
    counted = {
        name: candidates.run(store, pool, made_of.lesson(name), made_of.student, progress).read_table(COLUMNS)
        for name, pool in made_of.pools.items()
    }
    if not made_of.blend.needs_fit:
        return gather(counted)
    fits = {}
    for name, pool in made_of.pools.items():
        measured = fit.run(store, pool, made_of.student, made_of.student_prompt, made_of.max_tokens, progress, made_of.train, made_of.cuts)
        fits[name] = measured.read_table([made_of.blend.fit])[made_of.blend.fit]  # both are of the accepted traces, in the pool's order
    return gather(counted, fits)


def _mask(found: Gathered, rows: Any) -> Any:
    mask = np.zeros(len(found.problem), bool)
    mask[rows] = True
    return mask


def outcome(made_of: Ingredients, found: Gathered, rows: Codes, ledger: Ledger, before: Ledger) -> dict[str, Any]:
    """Return what there is to tell about a mixture: what was asked, what came out, what each step took or cut."""
    steps = ledger.steps()
    pools, hard = steps[-1]["pools"], found.names[0]
    unlimited = before.steps()[-1]["pools"] if before.steps() else pools
    return {
        "alpha": made_of.alpha,
        "shares": {pool: float(share) for pool, share in made_of.blend.shares(made_of.alpha).items()},
        "by": made_of.blend.by,
        "sharing": made_of.blend.sharing,
        "order": "staged" if made_of.blend.stages else made_of.blend.order,
        **({"stretches": stretches(found, rows, made_of.rule)} if made_of.rule.is_ordered else {}),
        "view": made_of.blend.view,
        "hard": hard,
        "easy": found.names[-1],
        "num_rows": len(rows),
        "num_problems": steps[-1]["num_problems"],
        **shares(pools, hard),
        "pools": pools,
        "before": {"pools": unlimited, **shares(unlimited, hard)},
        "dropped": ledger.dropped(TOO_LONG),
        **({"cut": ledger.cut(_mask(found, rows))} if made_of.cuts else {}),
        "max_tokens": made_of.max_tokens,
        "steps": steps,
    }
