"""Responses for reading beside one another: those of the page's case studies and of its browser.

In: artefacts of kind `scores`. Out: problems with one response of every arm, packed until a bound of bytes is full. Which response: the
first that is right where most of the arm's samples of that problem, over all seeds, are right, and the first that is not where they are
not; how many were right stands beside it. Which problems: those of the case studies, then each
benchmark's in turn, in an order drawn by the report's seed, so that a larger bound shows the same problems and more.

A response longer than MOST_CHARACTERS loses its middle, and says so: its beginning shows the style, its end the answer.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixray.report.answers import Arm
from mixray.rows import keyed_draw, sample_kind

Row = Mapping[str, Any]
Key = tuple[str, str]
"""A benchmark and the id of one of its problems."""

MOST_BYTES = 2_000_000
HEAD_CHARACTERS, TAIL_CHARACTERS = 8_000, 4_000
MOST_CHARACTERS = HEAD_CHARACTERS + TAIL_CHARACTERS
LEVEL = 6  # of gzip; 9 takes several times longer for a hundredth less
# What packing makes of text, by experience 4 to 8 times less: no more than this is ever read.
MOST_UNPACKED = 12
CHARACTERS_PER_TOKEN = 3
COUNTED = ["problem_id", "benchmark", "sample", "verdict", "num_response_tokens"]
SHOWN = [
    "problem_id", "benchmark", "sample", "question", "gold", "subject", "level", "response", "finish_reason", "num_response_tokens",
    "status", "answer", "verdict", "verdict_reason",
]  # fmt: skip
OUTCOMES = ("right", "wrong", "truncated", "looping", "no answer", "unknown", "error")


@dataclass(frozen=True)
class Responses:
    """What the page shows of responses.

    Attributes:
        arms: student and label of every arm, in the order of each problem's responses.
        problems: question, gold and responses of the problems that fit, those of the cases first.
        num_problems: how many there are.
        num_cases: how many of `problems` are there for a case.
    """

    arms: list[dict[str, str]]
    problems: list[dict[str, Any]]
    num_problems: int
    num_cases: int

    @cached_property
    def packed(self) -> str:
        """Arms and problems as JSON, gzip, base64: nothing in it can end the element it stands in."""
        return base64.b64encode(_gzip(self.arms, self.problems)).decode("ascii")

    def find(self, benchmark: str, problem_id: str) -> dict[str, Any] | None:
        """Return one problem, or None where it is not shown."""
        wanted = (benchmark, problem_id)
        return next((problem for problem in self.problems if (problem["benchmark"], problem["problem_id"]) == wanted), None)

    def cases(self, report: Row) -> list[dict[str, Any]]:
        """Return the report's case studies whose problems are at hand, each with the responses of its arms in the order it names them."""
        found = []
        for case in report["cases"]:
            problem = self.find(case["benchmark"], case["problem_id"])
            if problem is None:
                continue
            of = {(arm["student"], arm["label"]): told for arm, told in zip(self.arms, problem["responses"], strict=True)}
            columns = [(label, of[case["student"], label]) for label in case["labels"] if of.get((case["student"], label))]
            found.append({**case, "problem": problem, "columns": columns})
        return found


def gather(arms: Sequence[Arm], report: Row, most_bytes: int = MOST_BYTES) -> Responses:
    """Choose and read what is shown of the arms' responses.

    Args:
        arms: every arm, those of one student and mixture in any order of their seeds.
        report: the content of report.json: its arms give the order of responses, its cases come first, its seed orders the others.
        most_bytes: what the packed problems may take, cases included as far as they fit.
    """
    by_label: dict[tuple[str, str], list[Arm]] = {(row["student"], row["label"]): [] for row in report["groups"]}
    for arm in sorted(arms, key=lambda arm: arm.seed or 0):
        by_label[arm.student, arm.label].append(arm)
    counted = {name: _counts(of_label) for name, of_label in by_label.items()}
    tokens: dict[Key, int] = {}
    for counts in counted.values():
        for key, (_, _, shown_tokens) in counts.items():
            tokens[key] = tokens.get(key, 0) + shown_tokens
    first = dict.fromkeys(key for case in report["cases"] if (key := (case["benchmark"], case["problem_id"])) in tokens)
    order = [*first, *_order(tokens.keys() - first.keys(), report["seed"])]
    wanted = _affordable(order, tokens, len(by_label), MOST_UNPACKED * most_bytes)
    problems = _read(wanted, by_label, counted)
    names = [{"student": student, "label": label} for student, label in by_label]
    fits = _how_many_fit(names, problems, most_bytes)
    return Responses(names, problems[:fits], len(order), min(fits, len(first)))


def _counts(arms: Sequence[Arm]) -> dict[Key, tuple[int, int, int]]:
    """Return, for each problem, how many samples of all seeds were right, how many there are, and the shown sample's tokens."""
    found: dict[Key, tuple[int, int, int]] = {}
    for place, arm in enumerate(arms):
        table = arm.scores.read_table(COUNTED)
        table = table.set_column(table.schema.get_field_index("verdict"), "right", pc.cast(pc.equal(table["verdict"], "right"), pa.int64()))
        table = table.sort_by("sample")
        wanted = [("right", "sum"), ("right", "count"), ("num_response_tokens", "first")]
        grouped = table.group_by(["benchmark", "problem_id"], use_threads=False).aggregate(wanted)
        columns = ("benchmark", "problem_id", "right_sum", "right_count", "num_response_tokens_first")
        for benchmark, problem_id, right, number, length in zip(*(grouped[name].to_pylist() for name in columns), strict=True):
            before = found.get((benchmark, problem_id), (0, 0, 0))
            found[benchmark, problem_id] = (before[0] + right, before[1] + number, before[2] if place else length or 0)
    return found


def _order(keys: Iterable[Key], seed: int) -> list[Key]:
    """Return one problem of each benchmark in turn: small benchmarks are whole before large ones fill the page."""
    drawn = sorted(keys, key=lambda key: keyed_draw(seed, "responses", *key))
    ranks: dict[str, int] = {}
    placed = []
    for key in drawn:
        ranks[key[0]] = ranks.get(key[0], 0) + 1
        placed.append((ranks[key[0]], key[0], key))
    return [key for *_, key in sorted(placed)]


def _affordable(order: Sequence[Key], tokens: Mapping[Key, int], num_arms: int, most_characters: int) -> list[Key]:
    spent = 0
    for place, key in enumerate(order):
        spent += min(CHARACTERS_PER_TOKEN * tokens[key], num_arms * MOST_CHARACTERS) + 500
        if spent > most_characters:
            return list(order[:place])
    return list(order)


def _read(wanted: Sequence[Key], by_label: Mapping[tuple[str, str], list[Arm]], counted: Mapping[Any, Any]) -> list[dict[str, Any]]:
    problems: dict[Key, dict[str, Any]] = {
        (benchmark, problem_id): {"benchmark": benchmark, "problem_id": problem_id, "responses": [None] * len(by_label)}
        for benchmark, problem_id in wanted
    }
    for place, (name, arms) in enumerate(by_label.items()):
        for key, row in _typical(arms, wanted, counted[name]).items():
            problems[key].update({column: row[column] for column in ("question", "gold", "subject", "level")})
            problems[key]["responses"][place] = _response(row, counted[name][key])
    return list(problems.values())


def _typical(arms: Sequence[Arm], wanted: Iterable[Key], counts: Mapping[Key, tuple[int, int, int]]) -> dict[Key, Row]:
    """Return, for each problem, the first row in order of seed and sample whose verdict is that of most samples."""
    found: dict[Key, Row] = {}
    missing = set(wanted)
    for arm in arms:
        ids = pa.array(sorted({problem_id for _, problem_id in missing}), pa.string())
        for table in arm.scores.tables(SHOWN) if missing else ():
            for row in table.filter(pc.is_in(table["problem_id"], ids)).to_pylist():
                key = (row["benchmark"], row["problem_id"])
                if key in missing and (row["verdict"] == "right") == (2 * counts[key][0] > counts[key][1]):
                    # Score rows of earlier versions tell neither question nor status.
                    whole = {**dict.fromkeys(SHOWN), **row}
                    found[key] = min(found.get(key, whole), whole, key=lambda each: int(each["sample"]))
        missing -= found.keys()
    return found


def _response(row: Row, counts: tuple[int, int, int]) -> dict[str, Any]:
    text = row["response"] or ""
    left_out = max(0, len(text) - MOST_CHARACTERS)
    if left_out:
        text = f"{text[:HEAD_CHARACTERS]}\n\n[… {left_out:,} characters left out here …]\n\n{text[-TAIL_CHARACTERS:]}"
    return {
        "text": text,
        "left_out": left_out,
        "outcome": outcome(row),
        "reason": (row["verdict_reason"] or "").replace("_", " "),
        "answer": row["answer"] or "",
        "finish_reason": row["finish_reason"] or "",
        "tokens": row["num_response_tokens"],
        "right": counts[0],
        "samples": counts[1],
    }


def outcome(row: Row) -> str:
    """Return under which word a score row is counted: one of OUTCOMES."""
    return sample_kind(row).replace("_", " ")


def _how_many_fit(arms: Sequence[Row], problems: Sequence[Row], most_bytes: int) -> int:
    """Return how many of the problems, from the first, can be packed into so many bytes; a few bytes each are lost for counting."""
    packer = zlib.compressobj(LEVEL)
    size = len(_gzip(arms, []))
    for place, problem in enumerate(problems):
        size += len(packer.compress(_json(problem))) + len(packer.flush(zlib.Z_SYNC_FLUSH))
        if 4 * (size // 3 + 1) > most_bytes:
            return place
    return len(problems)


def _gzip(arms: Sequence[Row], problems: Sequence[Row]) -> bytes:
    return gzip.compress(_json({"arms": arms, "problems": problems}), LEVEL, mtime=0)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")
