"""mixray's verdicts beside lm-eval's own on real text: solutions of the paper's benchmarks, and what real models answered.

In: the folder of real data beside this clone. Out: the tables of `mixray/verify/LM_EVAL.md` on standard output, and every difference as a
line of JSON in the file that is named first. Run by hand: `python tests/bench/beside_lm_eval.py DIFFERENCES.jsonl [CASE...]`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from mixray.files import raw_rows
from mixray.problems.formats import draft
from mixray.quarantine import BadRow
from mixray.recipe import ProblemSet
from mixray.rows import SCORE
from mixray.verify import verify
from mixray.verify.audit import Totals, disagreements
from mixray.verify.extract import gold_answer

DATA = Path(__file__).parents[3] / "shared" / "data"
AT_ONCE = 200
MATH = ("minerva-math-verify", "hendrycks-exact-match", "aime-exact-match")
GSM8K = ("minerva-math-verify", "gsm8k-strict-match", "gsm8k-flexible-extract")


class Said(NamedTuple):
    """A gold, and what was answered."""

    gold: str
    response: str
    finish_reason: str = "stop"


class Case(NamedTuple):
    """What is judged, by which metrics, and whether the last number counts where there is no box."""

    said: Callable[[], list[Said]]
    metrics: tuple[str, ...]
    unboxed: bool = False


def problems(file: str, form: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield gold and raw row of every usable problem of a file."""
    source = ProblemSet(source=str(DATA / file), format=form)
    for number, row in enumerate(raw_rows(source.source)):
        try:
            yield gold_answer(draft(number, row, source).problem["answer"]), row
        except BadRow:
            continue


def math(file: str) -> list[Said]:
    """Every solution of MATH against the last box in it: all are right."""
    return [Said(gold, row.get("solution") or row["reward_model"]["ground_truth"]["solution"]) for gold, row in problems(file, "math")]


def whole_solution_as_gold(file: str) -> list[Said]:
    """The same; lm-eval reads the gold out of the whole solution, as it does in a run of its own."""
    return [Said(said.response, said.response) for said in math(file)]


def of_the_next(said: list[Said]) -> list[Said]:
    """Every response against the gold of the problem after it: nearly all are wrong."""
    return [Said(after.gold, each.response) for each, after in zip(said, [*said[1:], said[0]], strict=True)]


def thought(said: list[Said]) -> list[Said]:
    """A long chain of thought that boxes the next problem's answer on the way, thinks again, and ends with the solution."""
    return [
        Said(each.gold, f"<think>\nMaybe \\boxed{{{other.gold}}}. Wait, that is not right.\n</think>\n{each.response}")
        for each, other in zip(said, [*said[1:], said[0]], strict=True)
    ]


def taken_back(said: list[Said], dollar: str = "$") -> list[Said]:
    """A box that is taken back at once, and the right one."""
    box = f"{dollar}\\boxed{{{{{{}}}}}}{dollar}"
    return [
        Said(each.gold, f"So it is {box.format(other.gold)}. Wait, that is wrong. It is {box.format(each.gold)}.")
        for each, other in zip(said, [*said[1:], said[0]], strict=True)
    ]


def cut_off(said: list[Said]) -> list[Said]:
    """Every solution as far as its last box, not with it: the token limit came before the answer."""
    return [Said(each.gold, each.response[: each.response.rfind("\\boxed")], "length") for each in said]


def gsm8k(ending: str) -> list[Said]:
    """Every solution of GSM8K's test set, with the gold in another ending."""
    return [
        Said(gold, row["answer"].rpartition("####")[0] + ending.format(gold=gold)) for gold, row in problems("gsm8k.test.jsonl", "gsm8k")
    ]


def cut_off_gsm8k() -> list[Said]:
    """Every solution of GSM8K's test set without its last line, which states the answer: the token limit came before it."""
    return [Said(each.gold, each.response.rstrip(), "length") for each in gsm8k("")]


def boxed_only(file: str, form: str) -> list[Said]:
    """The gold in a box after a sentence, where there is no solution to take."""
    return [Said(gold, f"Thus the answer is $\\boxed{{{gold}}}$.") for gold, _ in problems(file, form)]


def olympiad() -> list[Said]:
    """Every solution of OlympiadBench with the golds in a box at its end."""
    return [Said(gold, f"{row['solution'][0]}\n\nFinal Answer: \\boxed{{{gold}}}") for gold, row in problems("olympiadbench.test.jsonl",
                                                                                                        "olympiadbench")]  # fmt: skip


def biggsm(model: str) -> list[Said]:
    """What a real model answered, without being asked for a box."""
    rows = raw_rows(str(DATA / f"pools/biggsm.{model}-CoT.jsonl"))
    return [Said(gold_answer(row["origin"]["answer"]).rstrip("."), row["pred"][-1]["content"][0]["text"]) for row in rows]


CASES = {
    "MATH test, its solutions": Case(lambda: math("math.test.jsonl"), MATH),
    "MATH test, the whole solution as gold": Case(lambda: whole_solution_as_gold("math.test.jsonl"), MATH[:2]),
    "MATH train, its solutions": Case(lambda: math("math.train.parquet"), MATH),
    "MATH test, the next problem's solution": Case(lambda: of_the_next(math("math.test.jsonl")), MATH),
    "MATH test, a wrong box in the thinking": Case(lambda: thought(math("math.test.jsonl")), MATH),
    "MATH test, a box taken back": Case(lambda: taken_back(math("math.test.jsonl")), MATH),
    "MATH test, a bare box taken back": Case(lambda: taken_back(math("math.test.jsonl"), ""), MATH),
    "MATH test, cut off before the box": Case(lambda: cut_off(math("math.test.jsonl")), MATH),
    "GSM8K test, #### at the end": Case(lambda: gsm8k("#### {gold}"), GSM8K, unboxed=True),
    "GSM8K test, a box at the end": Case(lambda: gsm8k("Final Answer: $\\boxed{{{gold}}}$."), GSM8K, unboxed=True),
    "GSM8K test, a box without $ at the end": Case(lambda: gsm8k("Final Answer: \\boxed{{{gold}}}"), GSM8K, unboxed=True),
    "GSM8K test, cut off before the answer": Case(cut_off_gsm8k, GSM8K, unboxed=True),
    "AIME24, the gold in a box": Case(lambda: boxed_only("aime24.test.jsonl", "aime24"), MATH),
    "AMC23, the gold in a box": Case(lambda: boxed_only("amc23.test.jsonl", "amc23"), MATH),
    "OlympiadBench, solutions with the gold in a box": Case(olympiad, MATH),
    "BigGSM, gpt-4o": Case(lambda: biggsm("gpt4o"), GSM8K, unboxed=True),
    "BigGSM, gpt-3.5": Case(lambda: biggsm("gpt35"), GSM8K, unboxed=True),
}


def judged(said: list[Said], unboxed: bool) -> Iterator[pa.Table]:
    """Yield rows as the scoring stage makes them."""
    for start in range(0, len(said), AT_ONCE):
        part = said[start : start + AT_ONCE]
        verdicts = verify([each.response for each in part], [each.gold for each in part], [each.finish_reason for each in part], unboxed)
        rows = [
            dict.fromkeys(SCORE.names)
            | {"benchmark": "b", "problem_id": str(start + number), "sample": 0, **each._asdict(), **asdict(verdict)}
            for number, (each, verdict) in enumerate(zip(part, verdicts, strict=True))
        ]
        yield pa.Table.from_pylist(rows, schema=SCORE)


def main() -> None:
    """Judge the cases and print a row for each metric of each."""
    out, wanted = sys.argv[1], sys.argv[2:] or list(CASES)
    print("| responses | number | metric | ours right | lm-eval's right | agree on right | why their verdicts differ |")
    print("|---|---:|---|---:|---:|---:|---|")
    with Path(out).open("a", encoding="utf-8") as file:
        for name in wanted:
            case = CASES[name]
            tables = list(judged(case.said(), case.unboxed))
            responses = {row["problem_id"]: row["response"] for table in tables for row in table.to_pylist()}
            for metric in case.metrics:
                began, totals = time.monotonic(), Totals()
                for found in disagreements(tables, "stored", f"lm-eval:{metric}", case.unboxed, totals):
                    tail = responses[found.trace_id.split("/")[1]][-300:]
                    file.write(json.dumps({"case": name, "metric": metric, **asdict(found), "tail": tail}, ensure_ascii=False) + "\n")
                tally = totals["b"]
                whys = "; ".join(f"{count:,} {why}" for why, count in Counter(tally.whys).most_common(3))
                shares = " | ".join(f"{count / tally.num:.2%}" for count in (tally.first_right, tally.second_right, tally.agreed_on_right))
                print(f"| {name} | {tally.num:,} | {metric} | {shares} | {whys} |", flush=True)
                print(f"{name}, {metric}: {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
