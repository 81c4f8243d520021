"""Words of style against words of content: which of the two shift when a student is taught (paper section 3.5, Takeaway 5).

In: artefacts of kind `shifts`. A word shifts where the untouched student ranks one of its tokens beyond `marginal_rank`. Words that hold a
digit or a sign of arithmetic are left out: they are neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mixray.report.contrasts import Estimate, mean_with_interval
from mixray.report.shifts import Read, read, words_said
from mixray.store import Artefact


def style_shift(arms: Sequence[Artefact], style: Collection[str], marginal_rank: int, confidence: float) -> Estimate:
    """Return by how much more often words of style shift than other words, over problems and seeds.

    Args:
        arms: what the untouched student makes of the responses of arms that differ in their seed alone.
        style: words of style, as they are written.
        marginal_rank: the last rank that is not shifted.
        confidence: of the interval.
    """
    told = [_by_problem(read([arm]), style, marginal_rank) for arm in arms]
    common = sorted(set.intersection(*(set(each) for each in told)))
    return mean_with_interval(np.array([[each[problem] for problem in common] for each in told]), confidence)


def _by_problem(told: Read, style: Collection[str], marginal_rank: int) -> dict[str, float]:
    """Return the difference of the two shares in each problem's responses that have words of both kinds."""
    responses, names, ranks, _ = words_said(told)
    problems = np.array(told.problems, dtype=object)[responses]
    wordy = np.array([name.isalpha() for name in names.tolist()], dtype=bool)
    of_style = np.array([name in style for name in names.tolist()], dtype=bool)
    shifted = ranks > marginal_rank
    found = {}
    for problem in np.unique(problems).tolist():
        here = (problems == problem) & wordy
        ours, others = here & of_style, here & ~of_style
        if ours.any() and others.any():
            found[problem] = float(shifted[ours].mean() - shifted[others].mean())
    return found
