"""Seeded fuzzing of verdicts: `python tests/bench/fuzz.py --count 100000 --seed 0`.

Answers as real sets have them are mutated (tokens swapped, nested, raised to towers, cut off, mixed with payloads and stray signs) and
judged one by one against golds, in two processes. Prints one JSON object: rows by verdict and reason, the slowest row with its seconds by
the wall and by the processor (on a busy machine these differ), how many children died, and whether a payload left its file. Ends with 1
where a row takes 2 s or longer, a child that keeps workers dies, something raises, or a payload ran.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import psutil
from verdicts import drawn

from mixray.verify import verify

CHUNK = 250
PROCESSES = 2
SLOWEST_SECONDS = 2.0
HOSTILE = Path(__file__).resolve().parents[1] / "verify" / "hostile.txt"
TOKENS = [
    *"0123456789xyznkie+-*/^_!%=<>|,;:.(){}[]$& \\'\"", "\\frac", "\\frac{", "}{", "\\sqrt", "\\sqrt{", "^{", "_{", "\\pm", "\\cup", "\\in",
    "\\le", "\\text{", "\\cdot", "\\pi", "\\infty", "^\\circ", "\\%", "\\$", "\\\\", "\\left(", "\\right)", "\\{", "\\}", "\\sum_{k=1}^{",
    "\\prod_{k=1}^{", "\\int_0^1", "\\lim_{x\\to0}", "\\binom{", "\\log_", "\\sin", "\\cos", "\\tan", "\\arctan", "\\begin{pmatrix}",
    "\\end{pmatrix}", "\\boxed{", "<think>", "</think>", " and ", " or ", "10^", "9^9", "!", "99999999", "\\overline{", "_8", "p.m.", "−",
    "½", "√", "∞", "\u202e", "\u0301", "\x00", "\ud800", "𝟓", "٣", "mod", "e^", "i",
]  # fmt: skip
WRAPPED_IN = [
    "({})", "\\frac{{{}}}{{2}}", "\\frac{{1}}{{{}}}", "\\sqrt{{{}}}", "2^{{{}}}", "{{{}}}^{{2}}", "\\{{{}\\}}", "\\text{{{}}}", "|{}|",
    "x={}", "({}, {})", "\\sin({})", "\\log({})", "({})!", "\\left[{}\\right)", "-({})", "{} + {}", "{}\\%",
    "\\begin{{pmatrix}}{}\\\\{}\\end{{pmatrix}}",
]  # fmt: skip


@dataclass
class Tally:
    """What became of some rows."""

    reasons: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str, str, str] = (0.0, "", "", "")
    most_cpu_seconds: float = 0.0
    slow: int = 0
    raised: list[str] = field(default_factory=list)
    keepers: set[int] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.reasons += other.reasons
        self.slowest = max(self.slowest, other.slowest)
        self.most_cpu_seconds = max(self.most_cpu_seconds, other.most_cpu_seconds)
        self.slow += other.slow
        self.raised += other.raised
        self.keepers |= other.keepers
        self.workers |= other.workers


def payloads(canary: str) -> list[str]:
    """The hostile corpus, each text cut to a length that goes into an answer."""
    entries = [json.loads(line) for line in HOSTILE.read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]
    texts = [entry if isinstance(entry, str) else "".join(piece * min(times, 40) for piece, times in entry) for entry in entries]
    return [text.replace("CANARY", canary)[:1000] for text in texts]


def mutated(draw: random.Random, text: str, hostile: list[str]) -> str:
    """Return `text` after one to six mutations."""
    for _ in range(draw.choice([1, 1, 2, 2, 3, 4, 6])):
        place, end = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        match draw.randrange(9):
            case 0:
                text = text[:place] + draw.choice(TOKENS) + text[place:]
            case 1:
                text = text[:place] + draw.choice(TOKENS) + text[place + 1 :]
            case 2:
                text = text[:place] + text[end:]
            case 3:
                text = text[:place] + text[place:end] * draw.choice([2, 3, 10, 60]) + text[end:]
            case 4:
                wrap = draw.choice(WRAPPED_IN)
                for _ in range(draw.choice([1, 1, 1, 2, 5, 15])):
                    text = wrap.replace("{}", text, 1).replace("{}", "3").replace("{{", "{").replace("}}", "}")
            case 5:
                text = text[:place] + "".join(draw.choices(TOKENS, k=draw.randint(2, 12))) + text[end:]
            case 6:
                text = draw.choice([f"{text}^{{{text}}}", f"{text}^{{{text}^{{{text}}}}}", f"9^{{{text}}}", f"({text})!", f"{text}{text}"])
            case 7:
                text = text[:place] + draw.choice(hostile) + text[place:]
            case _:
                text = text[:place]
        text = text[:5_000]
    return text


def fuzzed(seed: str, count: int, canary: str) -> list[tuple[str, str]]:
    """Return golds and responses; one gold in ten is fuzzed, too."""
    draw, hostile = random.Random(seed), payloads(canary)
    rows = []
    for row in drawn(seed, count):
        answer = mutated(draw, draw.choice([row.answer, row.gold]), hostile)
        gold = mutated(draw, row.gold, hostile) if draw.random() < 0.1 else row.gold
        rows.append((gold, f"So it is $\\boxed{{{answer}}}$." if draw.random() < 0.9 else answer))
    return rows


def judge(chunk: int, seed: int, canary: str) -> Tally:
    """Judge a chunk, one row at a time."""
    tally = Tally()
    verify([r"\boxed{x+1}"], ["1+x"])  # starts the child, which no row is to pay for
    _note_children(tally)
    clock = Clock()
    for gold, response in fuzzed(f"{seed}-{chunk}", CHUNK, canary):
        began, cpu_before = time.perf_counter(), clock.seconds()
        try:
            verdict = verify([response], [gold], unboxed=True)[0]
            reason = f"{verdict.verdict}: {verdict.verdict_reason}"
        except Exception as error:  # which none must; the run goes on and says so at its end
            reason = f"raised: {type(error).__name__}"
            tally.raised.append(f"{error!r} on {gold!r}, {response!r}"[:500])
        took = time.perf_counter() - began
        tally.reasons[reason] += 1
        tally.slowest = max(tally.slowest, (took, reason, gold[:300], response[:300]))
        tally.most_cpu_seconds = max(tally.most_cpu_seconds, clock.seconds() - cpu_before)
        tally.slow += took >= SLOWEST_SECONDS
        if took > 1 or "crashed" in reason or "memory" in reason:
            _note_children(tally)
    _note_children(tally)
    return tally


class Clock:
    """The processor time of this process and all below it; looks for processes only when one it knew is gone, since that is slow."""

    def __init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Find the processes."""
        self.keepers = psutil.Process().children()
        self.workers = [worker for keeper in self.keepers for worker in keeper.children()]

    def seconds(self) -> float:
        """Return the seconds so far."""
        spent = time.process_time()
        try:
            for keeper in self.keepers:
                times = keeper.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
            return spent + sum(sum(worker.cpu_times()[:2]) for worker in self.workers)
        except psutil.NoSuchProcess:
            self.look()
            return self.seconds()


def _note_children(tally: Tally) -> None:
    for keeper in psutil.Process().children():
        tally.keepers.add(keeper.pid)
        tally.workers |= {worker.pid for worker in keeper.children()}


def run(count: int, seed: int) -> tuple[dict[str, object], bool]:
    """Fuzz `count` rows; return what to report, and whether every rule held."""
    total = Tally()
    with tempfile.TemporaryDirectory() as folder:
        canary = os.path.join(folder, "canary")
        work = partial(judge, seed=seed, canary=canary)
        began = time.monotonic()
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as processes:
            for tally in processes.map(work, range(-(-count // CHUNK))):
                total.add(tally)
        ran = os.listdir(folder)
    died = len(total.keepers) - PROCESSES if total.keepers else 0
    report = {
        "rows": total.reasons.total(),
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "verdicts": dict(total.reasons.most_common()),
        "slowest": dict(zip(("seconds", "reason", "gold", "response"), total.slowest, strict=True)),
        "most_cpu_seconds": round(total.most_cpu_seconds, 3),
        "rows_of_2_seconds_or_more": total.slow,
        "keepers_died": max(died, 0),
        "workers_replaced": len(total.workers) - len(total.keepers),
        "raised": total.raised[:5],
        "payloads_that_ran": ran,
    }
    return report, not (total.slow or died > 0 or total.raised or ran)


def main() -> int:
    """Fuzz as the command line says; 1 where a rule is broken."""
    parser = argparse.ArgumentParser(description="Fuzz verdicts")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    report, held = run(chosen.count, chosen.seed)
    print(json.dumps(report, indent=1))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
