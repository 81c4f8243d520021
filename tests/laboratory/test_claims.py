"""Every claim is one that its recipe can answer: the arms, seeds, benchmarks and budgets that its contrasts name are there."""

from __future__ import annotations

import pytest

from mixray.graph import Graph, build_graph
from mixray.laboratory import CLAIMS, Claim
from mixray.laboratory.claims import GROUPS
from mixray.recipe import Recipe
from mixray.recipe_file import load_recipe, shipped_recipes
from mixray.report.contrasts import Term, read_terms
from mixray.store import Store

FEWEST_SEEDS = 3


def terms_of(claim: Claim) -> list[Term]:
    """Return every term that the claim's contrasts of scores name."""
    contrasts = (*claim.deciding, *claim.beside)
    return [term for wanted in contrasts for term in read_terms(wanted.terms)]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_its_recipe_has_what_its_contrasts_name(claim: Claim, store: Store) -> None:
    recipe = load_recipe(claim.recipe)
    graph = build_graph(recipe, store)
    for term in terms_of(claim):
        assert arms_of(graph, term), f"{term.student}/{term.label}"
        assert term.benchmark in (None, *recipe.evaluate.benchmarks)
        assert term.budget is None or term.budget in recipe.evaluate.budgets
        assert term.benchmark or len(recipe.evaluate.benchmarks) == 1
    if "style" in [wanted.measure for wanted in claim.deciding]:
        assert recipe.shifts is not None


def arms_of(graph: Graph, term: Term) -> list[str]:
    """Return the arms of a term, by name: as many as there are seeds."""
    names = {arm.name: arm.merged.name if arm.merged else arm.mix.name if arm.mix else "untouched" for arm in graph.arms}
    students = {arm.name: arm.student for arm in graph.arms}
    return [name for name, label in names.items() if (students[name], label) == (term.student, term.label)]


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("lab/")])
def test_a_recipe_of_the_laboratory_serves_a_claim_and_has_seeds_enough(name: str) -> None:
    recipe: Recipe = load_recipe(name)
    assert name in [claim.recipe for claim in CLAIMS.values()]
    assert len(recipe.seeds) >= FEWEST_SEEDS


def test_no_recipe_of_the_laboratory_is_tuned_on_what_it_asks() -> None:
    """One preset says how all of them train: what a recipe departs in is what it is about."""
    for claim in CLAIMS.values():
        recipe, plain = load_recipe(claim.recipe), load_recipe("lab/mix")
        changed = {key for key, value in recipe.train if value != getattr(plain.train, key)}
        assert changed <= {"departures"}, claim.name
        assert recipe.problems == plain.problems


def test_each_claim_stands_in_one_group() -> None:
    assert [claim.name for claims in GROUPS.values() for claim in claims] == list(CLAIMS)
