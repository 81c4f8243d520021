"""Preference pairs for a later DPO, from the pools a mixture was made of: a right answer and a bad one to the same problem.

In: a mixture, and its pools in the same store. Out: a file of JSON lines as TRL reads preferences, at most one pair for each of the
mixture's problems, in the order the problems have there. Problems that the mixture does not hold, contaminated ones among them, give none.

What is chosen: the shortest right and well-formed trace of any pool. What is rejected: a trace that loops; where there is none, one that
was cut off; else a wrong one. The chosen trace's own pool comes first: otherwise a student would learn which teacher speaks rather
than what is bad. Memory holds ids; the texts wait in a file beside the result.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mixray.errors import MixtureError
from mixray.export import appearing_whole, write_json_lines
from mixray.mixing import shelf
from mixray.mixing.views import Lesson
from mixray.rows import accepted
from mixray.store import Artefact

REASONS = ("looping", "truncated", "wrong")
"""Why a trace is rejected, the most telling first."""
Key = tuple[str, str]
"""A pool's name and a trace's id."""


@dataclass(frozen=True)
class Pair:
    """One problem's pair, by keys."""

    chosen: Key
    rejected: Key
    reason: str


@dataclass(frozen=True)
class Counts:
    """What became of a mixture's problems."""

    num_problems: int
    num_pairs: int
    reasons: dict[str, int]
    num_without_right: int
    num_without_bad: int
    """With a right trace, yet no bad one."""


@dataclass
class _Seen:
    """The best of one problem's traces so far."""

    chosen: tuple[int, Key] | None = None
    rejected: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By pool: the reason's rank and the trace's id."""


def bad_because(trace: Mapping[str, Any]) -> str | None:
    """Return why a trace is one to be rejected; None where it is not, or says nothing a student could learn from."""
    if not trace["response"]:
        return None
    if trace["status"] in ("looping", "truncated"):
        return str(trace["status"])
    return "wrong" if trace["status"] == "ok" and trace["verdict"] == "wrong" else None


def write(mixture: Artefact, out: Path, force: bool = False) -> Counts:
    """Write the preference pairs of a mixture's problems to `out`, one JSON object on each line.

    Raises:
        MixtureError: a pool is gone, no problem has a pair, or `out` is taken or cannot be written.
    """
    pools, lessons = _pools(mixture), _lessons(mixture)
    tagged = any(lesson.tag for lesson in lessons.values())
    seen = {row["problem_id"]: _Seen() for row in shelf.rows(mixture, ["problem_id"])}
    for name, pool in pools.items():
        for trace in _traces(pool, ["verdict", "status"]):
            if trace["problem_id"] in seen:
                _look(seen[trace["problem_id"]], name, trace)
    pairs = {problem: pair for problem, found in seen.items() if (pair := _pair(found, tagged)) is not None}
    if not pairs:
        raise MixtureError(
            "No problem of the mixture has both a right and a bad trace",
            seen=mixture.label,
            rule=f"a bad one is {', '.join(REASONS)}",
            do="ask more samples of each problem; nothing was written",
        )
    with appearing_whole(out, "mixture's preferences", MixtureError, force) as staged, tempfile.TemporaryFile(dir=out.parent) as texts:
        places = _keep_texts(pools, lessons, pairs.values(), texts)
        write_json_lines(staged, _lines(mixture, pairs, places, texts))
    reasons = Counter(pair.reason for pair in pairs.values())
    num_without_right = sum(found.chosen is None for found in seen.values())
    return Counts(
        num_problems=len(seen),
        num_pairs=len(pairs),
        reasons={reason: reasons[reason] for reason in REASONS},
        num_without_right=num_without_right,
        num_without_bad=len(seen) - len(pairs) - num_without_right,
    )


def _pools(mixture: Artefact) -> dict[str, Artefact]:
    """Return the pools a mixture was made from, by name."""
    store, found = mixture.store, {}
    folders = {folder.rpartition("-")[2]: folder for folder in store.folders("pools")}
    for name, hash_ in shelf.pool_hashes(mixture).items():
        if hash_ not in folders:
            raise MixtureError(
                "A pool of the mixture is gone", seen=f"pools/{name}-{hash_}", rule=f"it lies in {store.url}", do="run the recipe again"
            )
        found[name] = store.open("pools", folders[hash_])
    return found


def _traces(pool: Artefact, more: list[str]) -> Iterator[dict[str, Any]]:
    for table in shelf.batches(pool, ["trace_id", "problem_id", "response", *more]):
        yield from table.to_pylist()


def _look(seen: _Seen, pool: str, trace: dict[str, Any]) -> None:
    key = (pool, trace["trace_id"])
    if accepted(trace) and trace["response"]:
        # Characters: tokens of two teachers are no common measure, and imported traces often do not tell theirs.
        candidate = (len(trace["response"]), key)
        seen.chosen = candidate if seen.chosen is None else min(seen.chosen, candidate)
    if reason := bad_because(trace):
        ranked = (REASONS.index(reason), trace["trace_id"])
        seen.rejected[pool] = min(seen.rejected.get(pool, ranked), ranked)


def _pair(seen: _Seen, tagged: bool) -> Pair | None:
    """Return the pair; where questions carry a pool's tag, of that pool alone: another's answer would unteach the tag."""
    if seen.chosen is None:
        return None
    chosen = seen.chosen[1]
    rejected = [(rank, pool != chosen[0], pool, trace_id) for pool, (rank, trace_id) in seen.rejected.items()]
    rejected = [each for each in rejected if not (tagged and each[1])]
    if not rejected:
        return None
    rank, _, pool, trace_id = min(rejected)
    return Pair(chosen, (pool, trace_id), REASONS[rank])


def _keep_texts(
    pools: Mapping[str, Artefact], lessons: Mapping[str, Lesson], pairs: Iterable[Pair], texts: IO[bytes]
) -> dict[Key, tuple[int, int]]:
    """Write what is taught of the responses of the pairs to `texts`; return where each begins and how long it is."""
    wanted = {key for pair in pairs for key in (pair.chosen, pair.rejected)}
    places = {}
    for name, pool in pools.items():
        for trace in _traces(pool, []):
            key = (name, trace["trace_id"])
            if key in wanted:
                start = texts.tell()
                places[key] = (start, texts.write(lessons[name].response(trace["response"]).encode()))
    return places


def _lessons(mixture: Artefact) -> dict[str, Lesson]:
    return {pool: Lesson(**said) for pool, said in mixture.made_by["settings"]["lessons"]}


def _asked(turns: list[dict[str, str]], row: Lesson, chosen: Lesson) -> list[dict[str, str]]:
    """Return a row's prompt with the tag of the chosen trace's pool in the place of the row's own."""
    *before, asked = turns
    plain = asked["content"].removesuffix(f"\n{row.tag}") if row.tag else asked["content"]
    return [*before, {**asked, "content": f"{plain}\n{chosen.tag}" if chosen.tag else plain}]


def _lines(mixture: Artefact, pairs: dict[str, Pair], places: dict[Key, tuple[int, int]], texts: IO[bytes]) -> Iterator[dict[str, Any]]:
    def turn(key: Key) -> list[dict[str, str]]:
        start, length = places[key]
        texts.seek(start)
        return [{"role": "assistant", "content": texts.read(length).decode()}]

    lessons = _lessons(mixture)
    left = dict(pairs)
    for row in shelf.rows(mixture, ["messages", "problem_id", "pool"]):
        pair = left.pop(row["problem_id"], None)  # a problem may have several rows
        if pair is not None:
            yield {
                "prompt": _asked(row["messages"][:-1], lessons[row["pool"]], lessons[pair.chosen[0]]),
                "chosen": turn(pair.chosen),
                "rejected": turn(pair.rejected),
                "problem_id": row["problem_id"],
                "reason": pair.reason,
                "chosen_pool": pair.chosen[0],
                "rejected_pool": pair.rejected[0],
                "chosen_trace_id": pair.chosen[1],
                "rejected_trace_id": pair.rejected[1],
            }
