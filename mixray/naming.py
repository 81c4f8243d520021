"""What mixtures, merges and arms are called: names follow from the recipe alone, and no two things have the same.

In: a recipe. Out: names, in the order in which `plan` and the report tell them.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixray.errors import RecipeError
from mixray.recipe import Recipe, nearest

UNTOUCHED = "untouched"


def mixture_names(recipe: Recipe) -> dict[str, tuple[str, float | None]]:
    """Return {mixture: (blend, alpha)}: `<easy>` at 0 and `<hard>` at 1, between them `<blend>-<alpha>`; a blend of one mixture is that.

    Where two blends share an end, its name carries the blend's: they need not hold the same problems.
    """
    swept = [blend for blend in recipe.mixtures.values() if blend.pools is None and not blend.stages]
    ends = [end for blend in swept for end in {blend.hard, blend.easy}]
    names: dict[str, tuple[str, float | None]] = {}
    for blend_name, blend in recipe.mixtures.items():
        for alpha in blend.alphas:
            end = blend.easy if alpha == 0 else blend.hard if alpha == 1 else None
            if blend not in swept:
                name = blend_name
            else:
                name = f"{blend_name}-{alpha:g}" if end is None else end if ends.count(end) == 1 else f"{blend_name}-{end}"
            if name in names or name == UNTOUCHED:
                raise RecipeError("Two mixtures come to the same name", seen=name, rule="each alpha once", do="rename the blend")
            names[name] = (blend_name, alpha)
    return names


def merge_names(recipe: Recipe) -> dict[str, tuple[str, float]]:
    """Return {merged student: (merge, alpha)}: `<merge>-<alpha>`.

    Raises:
        RecipeError: a merge names no mixture, or its name is taken.
    """
    mixtures = mixture_names(recipe)
    taken = {UNTOUCHED, *mixtures, *recipe.mixtures}
    names: dict[str, tuple[str, float]] = {}
    for merge_name, how in recipe.merges.items():
        for role, mixture in (("hard", how.hard), ("easy", how.easy)):
            if mixture not in mixtures:
                raise RecipeError(
                    f"A merge names no mixture: merges.{merge_name}.{role}",
                    seen=mixture,
                    rule=f"one of {', '.join(mixtures)}",
                    do=f"name a mixture as `mixray plan` shows it{nearest(mixture, mixtures)}",
                )
        for alpha in how.alpha:
            name = f"{merge_name}-{alpha:g}"
            if {name, merge_name} & taken or name in names:
                raise RecipeError("A merge has the name of a mixture or of another merge", seen=name, do="rename the merge")
            names[name] = (merge_name, alpha)
    return names


def refuse_a_name_twice(names: Sequence[str]) -> None:
    """Refuse two arms of one name: it is the student's name at the endpoint, where the second would answer for both.

    Raises:
        RecipeError: there are two.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError("Two arms come to the same name", seen=twice[0], rule="<student>-<mixture>-s<seed>", do="rename a student")
