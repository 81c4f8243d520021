"""The written policy is the policy: every row of every table in POLICY.md is judged."""

from __future__ import annotations

import re
from importlib import resources

from mixray.verify import verify

HEADER = ["gold", "answer", "verdict", "why"]


def rows_of(text: str) -> list[tuple[str, str, str]]:
    """Gold, answer and `verdict: reason` of every row under a heading of the policy's tables."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == len(HEADER) and cells != HEADER and not set(cells[0]) <= {"-", ":"}:
            gold, answer = (cell[1:-1].replace(r"\|", "|") for cell in cells[:2])
            assert all(cell[0] == cell[-1] == "`" for cell in cells[:2]), line
            rows.append((gold, answer, cells[2]))
    return rows


POLICY = resources.files("mixray.verify").joinpath("POLICY.md").read_text(encoding="utf-8")
ROWS = rows_of(POLICY)


def response(answer: str) -> str:
    return answer if "\\boxed" in answer else f"So it is $\\boxed{{{answer}}}$."


def test_every_row_of_the_policy_holds() -> None:
    verdicts = verify([response(answer) for _, answer, _ in ROWS], [gold for gold, _, _ in ROWS], ["stop"] * len(ROWS))
    seen = [
        (gold, answer, f"{verdict.verdict}: {verdict.verdict_reason}") for (gold, answer, _), verdict in zip(ROWS, verdicts, strict=True)
    ]
    differing = [f"{gold} | {answer}: {told}, not {row[2]}" for (gold, answer, told), row in zip(seen, ROWS, strict=True) if told != row[2]]
    assert not differing, "\n" + "\n".join(differing)


def test_every_section_has_rows_and_no_line_of_a_table_is_lost() -> None:
    sections = POLICY.split("\n## ")[1:]
    for section in sections:
        lines = [line for line in section.splitlines() if line.startswith("|")]
        assert len(rows_of(section)) == len(lines) - 2 > 0, section.splitlines()[0]
    assert len({(gold, answer) for gold, answer, _ in ROWS}) == len(ROWS)
