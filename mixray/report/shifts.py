"""What students say that the untouched student would not have: shares of tokens, the tokens and words that moved, where they stand.

In: artefacts of kind `shifts` (a row per response, with each token's rank under the untouched student). Out: a row for each group of arms
that differ in the training seed alone, their responses pooled; and a paragraph for report.md.

A token is unshifted where the untouched student ranks it first, marginal up to `marginal_rank`, shifted beyond (arXiv 2312.01552). How far
it shifted is its rank less its rank under the arm, or less 1 where the arm did not read its own responses: that is its rank there where it
was sampled greedily. A word counts once each time it is said, with the rank and the shift of the worst of its tokens: it is unshifted where
the untouched student would have written all of it.

The interval is a bootstrap's over problems, each drawn with all its responses: tokens of one response hang together, and so do responses to
one problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixray.recipe import Report, Shifts
from mixray.report import numerals
from mixray.report.answers import SeedGroup
from mixray.rows import keyed_draw
from mixray.store import Artefact

Row = Mapping[str, Any]
Ints = NDArray[np.int64]
EDGES = ".,;:!?()[]{}\"'`*"
"""Not counted as part of a word at its ends, so that `Wait,` and `Wait` are one."""
_MOST_DRAWN = 2**22  # numbers of one draw of the bootstrap at hand at once
_MARKDOWN_TOP = 5


@dataclass(frozen=True)
class Read:
    """The responses of one group, token by token, one after another; `lengths` has the tokens of each response."""

    problems: list[str]
    texts: list[str]
    lengths: Ints
    token_ids: Ints
    words: Ints
    ranks: Ints
    shifts: Ints
    surprisals: NDArray[np.float64]
    spellings: Mapping[int, str]

    def per_response(self, flags: NDArray[np.bool_]) -> Ints:
        """Return how many tokens of each response have a flag."""
        ends = np.concatenate([[0], np.cumsum(flags)])
        stops = np.cumsum(self.lengths)
        return np.asarray(ends[stops] - ends[stops - self.lengths], dtype=np.int64)


def rows(groups: Sequence[SeedGroup], shifts: Mapping[str, Artefact], recipe: Row, report: Report, seed: int) -> list[dict[str, Any]]:
    """Return a row for each group whose arms were all read; [] where none was."""
    found = []
    settings = Shifts.model_validate(recipe.get("shifts") or {})
    for group in groups:
        artefacts = [shifts[arm.name] for arm in group.arms if arm.name in shifts]
        if artefacts and len(artefacts) == len(group.arms):
            told = _row(read(artefacts), settings, report, keyed_draw(seed, "shifts", group.student, group.label))
            otherwise = sum(artefact.outcome["num_counted_otherwise"] for artefact in artefacts)
            found.append({"student": group.student, "label": group.label, **told, "num_counted_otherwise": otherwise})
    return found


def read(artefacts: Sequence[Artefact]) -> Read:
    """Return the responses of some arms of one student, pooled."""
    answered = [row for artefact in artefacts for row in artefact.read_table().to_pylist()]
    spellings = {int(token): text for artefact in artefacts for token, text in artefact.read_json("spellings.json").items()}

    def joined(name: str) -> Ints:
        return np.array([number for row in answered for number in row[name]], dtype=np.int64)

    ranks = joined("ranks")
    own = joined("own_ranks") if all(row["own_ranks"] is not None for row in answered) else np.ones_like(ranks)
    return Read(
        problems=[f"{row['benchmark']}\x1f{row['problem_id']}" for row in answered],
        texts=[row["response"] for row in answered],
        lengths=np.array([len(row["ranks"]) for row in answered], dtype=np.int64),
        token_ids=joined("token_ids"),
        words=joined("words"),
        ranks=ranks,
        shifts=ranks - own,
        surprisals=np.array([number for row in answered for number in row["surprisals"]], dtype=np.float64),
        spellings=spellings,
    )


def _row(told: Read, settings: Shifts, report: Report, seed: int) -> dict[str, Any]:
    shifted = told.ranks > settings.marginal_rank
    num_tokens = len(told.ranks)
    share = float(shifted.mean()) if num_tokens else None
    low, high = interval(told.problems, told.per_response(shifted), told.lengths, report.confidence, report.num_resamples, seed)
    return {
        "num_responses": len(told.texts),
        "num_tokens": num_tokens,
        "unshifted": float((told.ranks == 1).mean()) if num_tokens else None,
        "marginal": float(((told.ranks > 1) & ~shifted).mean()) if num_tokens else None,
        "shifted": share,
        "low": low,
        "high": high,
        "mean_probability": float(np.exp(-told.surprisals).mean()) if num_tokens else None,
        "marginal_rank": settings.marginal_rank,
        "against_own": settings.against_own,
        "least_count": settings.least_count,
        "top": top_tokens(told, settings),
        "top_words": top_words(told, settings),
        "positions": positions(told, shifted, settings.num_positions),
    }


def interval(
    problems: Sequence[str], counts: Ints, sizes: Ints, confidence: float, num_resamples: int, seed: int
) -> tuple[float | None, float | None]:
    """Return where the share sum(counts) / sum(sizes) lies, drawing problems with replacement; (None, None) of a single problem.

    Args:
        problems: the problem of each response.
        counts: tokens of each response that shifted.
        sizes: tokens of each response.
        confidence: of the interval, by percentiles.
        num_resamples: of the bootstrap.
        seed: of the draws.
    """
    names, places = np.unique(np.asarray(problems, dtype=object), return_inverse=True) if problems else (np.array([]), np.array([]))
    if len(names) < 2:
        return None, None
    sums = np.stack([np.bincount(places, weights=numbers) for numbers in (counts, sizes)], axis=1)
    draws, shares = np.random.default_rng(seed), []
    for size in _sizes(num_resamples, max(1, _MOST_DRAWN // len(names))):
        drawn = draws.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size) @ sums
        shares.append(drawn[:, 0] / drawn[:, 1])
    low, high = np.quantile(np.concatenate(shares), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _sizes(total: int, most: int) -> Iterator[int]:
    for start in range(0, total, most):
        yield min(most, total - start)


def top_tokens(told: Read, settings: Shifts) -> list[dict[str, Any]]:
    """Return the tokens that shifted furthest, by how they are spelled."""
    names = np.array([told.spellings[token] for token in told.token_ids.tolist()], dtype=object)
    return _top("token", names, told.ranks, told.shifts, settings)


def top_words(told: Read, settings: Shifts) -> list[dict[str, Any]]:
    """Return the words that shifted furthest."""
    _, names, ranks, shifts = words_said(told)
    return _top("word", names, ranks, shifts, settings)


def words_said(told: Read) -> tuple[Ints, NDArray[Any], Ints, Ints]:
    """Return each word that was said: its response, itself, rank and shift of its worst token. Blanks and ends of turns are of none."""
    responses = np.repeat(np.arange(len(told.texts)), told.lengths)
    of_word = told.words >= 0
    keys, places = np.unique(np.stack([responses[of_word], told.words[of_word]], axis=1), axis=0, return_inverse=True)
    ranks, shifts = (np.full(len(keys), np.iinfo(np.int64).min) for _ in range(2))
    np.maximum.at(ranks, places.reshape(-1), told.ranks[of_word])
    np.maximum.at(shifts, places.reshape(-1), told.shifts[of_word])
    said = [text.split() for text in told.texts]
    return keys[:, 0], np.array([_bare(said[response][place]) for response, place in keys.tolist()], dtype=object), ranks, shifts


def _bare(word: str) -> str:
    return word.strip(EDGES) or word


def _top(kind: str, names: NDArray[Any], ranks: Ints, shifts: Ints, settings: Shifts) -> list[dict[str, Any]]:
    if not len(names):
        return []
    different, places, counts = np.unique(names, return_inverse=True, return_counts=True)
    order = np.argsort(places, kind="stable")
    starts = np.cumsum(counts) - counts
    listed = []
    for name, start, count in zip(different.tolist(), starts.tolist(), counts.tolist(), strict=True):
        if count >= settings.least_count:
            here = order[start : start + count]
            listed.append(
                {
                    kind: name,
                    "count": count,
                    "shifted_share": float((ranks[here] > settings.marginal_rank).mean()),
                    "mean_shift": float(shifts[here].mean()),
                    "median_shift": float(np.median(shifts[here])),
                    "max_shift": int(shifts[here].max()),
                }
            )
    moved = [row for row in listed if row["max_shift"] > 0]
    return sorted(moved, key=lambda row: (-row[settings.top_by], -row["count"], row[kind]))[: settings.top]


def positions(told: Read, shifted: NDArray[np.bool_], num_positions: int) -> list[dict[str, Any]]:
    """Return the share shifted in each part of the responses, from their first tokens to their last; null where no token falls."""
    starts = np.repeat(np.cumsum(told.lengths) - told.lengths, told.lengths)
    parts = (np.arange(len(shifted)) - starts) * num_positions // np.repeat(told.lengths, told.lengths)
    sizes = np.bincount(parts, minlength=num_positions)
    counts = np.bincount(parts, weights=shifted, minlength=num_positions)
    return [
        {
            "from_share": part / num_positions,
            "to_share": (part + 1) / num_positions,
            "shifted_share": float(counts[part] / sizes[part]) if sizes[part] else None,
        }
        for part in range(num_positions)
    ]


def in_words(report: Row) -> list[str]:
    """Return the part of report.md that tells of shifts; nothing where none were measured."""
    if not report.get("shifts"):
        return []
    first = report["shifts"][0]
    how = "its rank under the arm" if first["against_own"] else "1"
    told = (
        "Each arm's responses, read by the untouched student: a token is unshifted where the untouched student ranks it first, marginal "
        f"up to rank {first['marginal_rank']}, shifted beyond. A token's shift is its rank less {how}; listed are words said at least "
        f"{first['least_count']} times, each as far as the worst of its tokens, with their mean shift."
    )
    lines = ["student", "trained on", "responses", "tokens", "unshifted", "marginal", "shifted", "at the start", "words that moved most"]
    table = ["| " + " | ".join(lines) + " |", "| " + " | ".join(["---"] * len(lines)) + " |"]
    table += ["| " + " | ".join(_cells(row)) + " |" for row in report["shifts"]]
    otherwise, of = (sum(row[key] for row in report["shifts"]) for key in ("num_counted_otherwise", "num_responses"))
    if otherwise:
        told += f" Of {of:,} responses {otherwise:,} are read as more or fewer tokens than were sampled; theirs may shift for that."
    return ["## What the students say that they would not have said", told, "\n".join(table)]


def _cells(row: Row) -> list[str]:
    low, high = (numerals.percent(row[end]) for end in ("low", "high"))
    words = ", ".join(f"`{_safe(top['word'])}` {top['mean_shift']:,.1f}" for top in row["top_words"][:_MARKDOWN_TOP])
    return [
        row["student"],
        row["label"],
        *(numerals.count(row[key]) for key in ("num_responses", "num_tokens")),
        *(numerals.percent(row[key]) for key in ("unshifted", "marginal")),
        f"{numerals.percent(row['shifted'])} ({low} to {high})",
        numerals.percent(row["positions"][0]["shifted_share"]),
        words or numerals.NOTHING,
    ]


def _safe(word: str) -> str:
    return word.replace("|", "\\|").replace("`", "'")
