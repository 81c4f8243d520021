"""The stage that reports: arms with their students and scores, mixtures and pools in; report.json, report.md and index.html out.

In: artefacts of kinds `students`, `scores`, `budgets`, `mixtures`, `pools`, `overlaps` and `shifts`. Out: an artefact of kind `reports`.
What survives a kill: nothing unfinished; everything is made again from rows that are there, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from mixray import recipe as recipes
from mixray.progress import StageProgress
from mixray.report import budgets, cases, costs, curves, differences, forced, markdown, page, responses, scaling, sources, tables
from mixray.report import shifts as token_shifts
from mixray.report.answers import Arm, read_groups
from mixray.report.provenance import provenance
from mixray.report.scopes import WEIGHTED, Statistics, headline, scopes
from mixray.store import Artefact, Store

# Raised when the same rows would be told differently: reports already there are then made again.
LAYOUT = 8
NONE: Mapping[str, Artefact] = MappingProxyType({})


def handle(
    store: Store, name: str, arms: Sequence[Arm], mixtures: Mapping[str, Artefact], pools: Mapping[str, Artefact],
    overlaps: Artefact, settings: recipes.Report, seed: int, recipe: Mapping[str, Any], shifts: Mapping[str, Artefact] = NONE,
) -> Artefact:  # fmt: skip
    """Return the handle of one report, done or not."""

    def of(arm: Arm) -> dict[str, str] | None:
        return asdict(arm.merged) if arm.merged else None

    made_by = {
        "layout": LAYOUT,
        "arms": [[arm.name, arm.student, arm.mixture, arm.blend, arm.alpha, arm.seed, arm.matched, arm.model, of(arm)] for arm in arms],
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "recipe": dict(recipe),
    }
    inputs = {
        **{f"student {arm.name}": arm.trained for arm in arms if arm.trained is not None},
        **{f"scores {arm.name}": arm.scores for arm in arms},
        **{f"budgets {arm.name}": arm.budgets for arm in arms if arm.budgets is not None},
        **{f"mixture {key}": artefact for key, artefact in mixtures.items()},
        **{f"pool {key}": artefact for key, artefact in pools.items()},
        "overlaps": overlaps,
        **{f"shifts {key}": artefact for key, artefact in shifts.items()},
    }
    return store.artefact("reports", name, made_by, inputs)


def run(
    store: Store, name: str, arms: Sequence[Arm], mixtures: Mapping[str, Artefact], pools: Mapping[str, Artefact],
    overlaps: Artefact, settings: recipes.Report, seed: int, recipe: Mapping[str, Any], progress: StageProgress,
    shifts: Mapping[str, Artefact] = NONE,
) -> Artefact:  # fmt: skip
    """Make the report, or find it made.

    Args:
        store: where artefacts lie.
        name: the report's name.
        arms: every arm, an untouched one for each student among them.
        mixtures: the mixtures the arms were trained on, by name.
        pools: the pools they were drawn from, by teacher.
        overlaps: what their problems have in common with one another and with the benchmarks.
        settings: confidence and number of resamples.
        seed: of the bootstrap.
        recipe: the whole recipe as plain JSON values, shown as where the numbers come from.
        progress: the stage's line on the terminal.
        shifts: by arm, what the untouched student makes of its answers; of those arms that were asked about.

    Raises:
        MixrayError: a student has no untouched arm, its arms were asked different problems, or a training log cannot be read.
    """
    artefact = handle(store, name, arms, mixtures, pools, overlaps, settings, seed, recipe, shifts)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        report = build(name, arms, mixtures, pools, overlaps, settings, seed, recipe, shifts)
        with artefact.staging() as staging:
            staging.write_json("report.json", report)
            (staging.folder / "report.md").write_text(markdown.render(report), encoding="utf-8")
            (staging.folder / "index.html").write_text(page.render(report, responses.gather(arms, report)), encoding="utf-8")
            staging.outcome = {"num_arms": len(arms), "num_gaps": len(report["gaps"])}
    return artefact


def build(
    name: str, arms: Sequence[Arm], mixtures: Mapping[str, Artefact], pools: Mapping[str, Artefact],
    overlaps: Artefact, settings: recipes.Report, seed: int, recipe: Mapping[str, Any], shifts: Mapping[str, Artefact] = NONE,
) -> dict[str, Any]:  # fmt: skip
    """Return the content of report.json."""
    statistics = Statistics(settings, seed)
    groups = read_groups(arms)
    trained = {arm.name: curves.trained(arm) for arm in arms}
    told = list(scopes(groups[0]))
    top = headline(groups[0])
    gaps = differences.gap_rows(groups, statistics)
    changes = {(gap["student"], gap["hard"]): gap for gap in gaps if gap["kind"] == "trained - untouched" and gap["benchmark"] == top}
    figures = {name: of.figures for name, of in trained.items()}
    return {
        "name": name,
        **settings.model_dump(mode="json", include={"confidence", "num_resamples", "bootstrap"}),
        "seed": seed,
        "headline": top,
        "scopes": [scope for scope in told if scope != WEIGHTED],
        "weighted_scope": WEIGHTED if WEIGHTED in told else None,
        "answers": differences.answer_rows(groups, statistics),
        "arms": [{**row, "training": figures[row["arm"]]} for row in tables.arm_rows(groups, statistics)],
        "curves": {name: of.curve for name, of in trained.items() if of.curve is not None},
        "groups": tables.group_rows(groups, statistics),
        "gaps": gaps,
        "multiplicity": differences.multiplicity(gaps, top, settings.confidence),
        "scaling": scaling.scaling_rows(gaps, scaling.num_parameters(arms)),
        "alpha_curves": tables.curve_rows(groups, statistics),
        "lengths": budgets.length_rows(groups),
        "budget_curves": budgets.budget_rows(groups, statistics),
        "forced_budgets": forced.forced_rows(groups, statistics),
        "costs": costs.cost_rows(groups, mixtures, pools, figures, changes),
        "cases": cases.case_rows(groups, seed),
        "mixtures": sources.mixture_rows(mixtures),
        "overlaps": sources.overlap_rows(overlaps),
        "pools": sources.pool_rows(pools),
        "shifts": token_shifts.rows(groups, shifts, recipe, settings, seed),
        "provenance": provenance(arms, mixtures, pools, overlaps, recipe, shifts),
    }
