"""The laboratory's page: what is claimed, what was found, and how sure that is. Pure: findings in, Markdown and pictures out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mixray import report
from mixray.laboratory.claims import CLAIMS, GROUPS, Claim
from mixray.laboratory.findings import Contrasted, Finding
from mixray.laboratory.words import MARKS, SAYS, amount, interval, mark, short

HEAD = """# The laboratory

What *Small Models Struggle to Learn from Strong Reasoners* and its neighbours claim, held against the tiny world: word problems with exact
answers, teachers and students of 0.1 to 0.8 M parameters ([mixray/tiny](../mixray/tiny)), which train for seconds. Every claim has a recipe
in [mixray/recipes/lab](../mixray/recipes/lab), and was written down with the contrasts that decide it in
[claims.py](../mixray/laboratory/claims.py) before it was measured. Where a recipe, a contrast or the rule of a verdict was changed
afterwards, the claim tells what it was called before, and why. This page is written by `make lab`; nobody edits it.

**How to read it.** A difference is taken problem by problem and seed by seed, with a 95 % interval over problems and training seeds. It
does not cover other draws of problems into a mixture. *Shown here*: every deciding interval lies where the claim says, or one, at a higher
confidence, where one is enough. *Contradicted here*: one lies on the other side, also at a confidence that all deciding ones share. *Not
shown here*: neither; the smallest difference that would have been shown, about four times in five, stands beside it. A gap between two
arms that learned nothing can only be close to zero, so no other gap is held against it. In the pictures a filled mark is shown and a
hollow one is not; a diamond is shown and decides.

**What this world is.** The teachers are micro-models of one style each. "Long" means traces that check every step, and first get a sum
that crosses ten wrong, notice it and put it right; "large" means a terse teacher that skips steps, by construction. student-m is of the
size of all teachers but the small one, which is of student-s's. Students are base models that know the format and every style on problems
of one or two steps, unless their name says otherwise, and are taught and asked three to five; the paper's are instruct models. An arm
marked ° is not shown to be above its untouched student. A tiny world is no large one: what is contradicted here may hold for real models,
and the recipes of [mixray/recipes/paper](../mixray/recipes/paper) ask them.

**What was chosen, and on what.** The world and its models were chosen on a split of their own. The settings of all recipes (3 epochs,
rate, rows of a step) were settled for the demo, where the epochs (3 rather than 2) were chosen after a trial on its own test problems;
those asked here are another draw. The rate of the adapters (`lora`) was not searched for. Claims that were asked in another way after
they had been measured (their *before* says so) were asked the same 300 test problems again.
"""


def pictures(claim: Claim, finding: Finding, told: Mapping[str, Any]) -> dict[str, report.Picture]:
    """Return a claim's pictures by file name: the contrasts, and those of its report that it asks for."""
    found = {}
    for measure in dict.fromkeys(each.measure for each in finding.contrasts):
        rows = [_row(each, _terms(finding)) for each in finding.contrasts if each.measure == measure]
        unit = "tokens" if measure == "tokens" else "percentage points"
        found[claim.name if measure == finding.contrasts[0].measure else f"{claim.name}-{measure}"] = report.forest(rows, claim.title, unit)
    if "alpha" in claim.pictures:
        for student, blend in dict.fromkeys((row["student"], row["blend"]) for row in told["groups"] if row["alpha"] is not None):
            groups = [row for row in told["groups"] if (row["student"], row["blend"]) == (student, blend)]
            untouched = next(row for row in told["groups"] if row["student"] == student and row["mixture"] is None)
            title = f"{student}: accuracy against alpha, {blend}"
            groups.sort(key=lambda row: float(row["alpha"]))
            found[f"{claim.name}-{blend}"] = report.curve(groups, untouched, told["headline"], title)
    if "scaling" in claim.pictures:
        rows = [row for row in told["scaling"] if row["kind"] == "hard - easy" and row["benchmark"] == told["headline"]]
        found |= {f"{claim.name}-size": report.scaling(row, f"{row['name']}, by the student's size") for row in rows[:1]}
    return found


def _terms(finding: Finding) -> list[str]:
    return [each.terms for each in finding.contrasts]


def _row(each: Contrasted, of: Collection[str]) -> dict[str, Any]:
    scale = 100 if each.measure == "tokens" else 1
    ends = {"difference": each.value / scale, "low": each.low / scale, "high": each.high / scale}
    return {"name": short(each.terms, of), **ends, "verdict": MARKS[each.state], "holds_jointly": each.deciding}


def render(findings: Mapping[str, Finding], seconds: Mapping[str, float], machine: str, there: Collection[str]) -> str:
    """Return the whole page.

    Args:
        findings: by claim.
        seconds: of processors, that each recipe took.
        machine: on what.
        there: the names of the pictures that are there.
    """
    parts = [HEAD, _summary(findings), _cost(seconds, machine)]
    for title, claims in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_section(claim, findings.get(claim.name), there) for claim in claims]
    return "\n".join([*parts, _origins(findings)])


def _summary(findings: Mapping[str, Finding]) -> str:
    lines = ["| claim | source | here | the difference the verdict rests on |", "|---|---|---|---|"]
    for claim in CLAIMS.values():
        finding = findings.get(claim.name)
        what = f"**{finding.verdict}**" if finding else "not run yet"
        lines.append(f"| [{claim.title}](#{claim.name}) | {claim.source} | {what} | {_telling(claim, finding) if finding else ''} |")
    decided = {(each.terms, each.measure): each for finding in findings.values() for each in finding.contrasts if each.deciding}
    changed = [f"[{claim.title}](#{claim.name})" for claim in CLAIMS.values() if claim.before]
    by_chance = sum(1 - each.confidence for each in decided.values())
    claimed = sum((1 - each.confidence) / (1 if each.says == "differs" else 2) for each in decided.values())
    return "\n".join([
        *lines, "",
        f"{len(decided)} contrasts decide. Were nothing different, about {by_chance:.1f} of them would be shown by chance, {claimed:.1f} "
        "of these as claimed.\n",
        f"Called otherwise when they were first measured, and why, in their sections: {', '.join(changed)}.\n",
    ])  # fmt: skip


def _telling(claim: Claim, finding: Finding) -> str:
    """Return the deciding contrast that the verdict rests on, with the smallest difference it could have shown where it shows none.

    It is the one that supports the claim least, or most where one is enough; of those alike the one whose interval is furthest from zero.
    """

    def support(each: Contrasted) -> tuple[int, float]:
        from_zero = max(each.low, -each.high)
        if claim.takes_any:
            return {"as said": (0, -from_zero), "open": (1, -each.detectable), "against": (2, -from_zero)}[each.state]
        if each.floor:
            return (2, -each.detectable)
        return {"against": (0 if each.jointly else 1, -from_zero), "open": (2, -each.detectable), "as said": (3, from_zero)}[each.state]

    each = min((each for each in finding.contrasts if each.deciding), key=support)
    told = f"{short(each.terms, _terms(finding))}: {interval(each)}"
    if each.floor:
        return f"{told}, but {each.floor} learned nothing"
    if each.state == "open":
        return f"{told}; {amount(each.measure, each.detectable)} would have been shown"
    if each.joint is None or each.state != "against":
        return told
    return f"{told}, {mark(each)}; {amount(each.measure, each.joint['detectable'])} would have been shown"


def _cost(seconds: Mapping[str, float], machine: str) -> str:
    if not seconds:
        return ""
    hours = sum(seconds.values()) / 3600
    return f"**What it took**: {hours:.1f} processor hours ({machine}) for {len(seconds)} recipes, which share what they can.\n"


def _section(claim: Claim, finding: Finding | None, there: Collection[str]) -> str:
    lines = [f'<a id="{claim.name}"></a>\n### {claim.title}\n', f"{claim.says} *({claim.source}; recipe `{claim.recipe}`)*\n"]
    if finding is None:
        return "\n".join([*lines, "Not run yet.\n"])
    several = f" One is enough, so each is held at {100 * finding.contrasts[0].confidence:.1f} %." if claim.takes_any else ""
    lines.append(f"**{finding.verdict.capitalize()}.**{several}{' ' + claim.note if claim.note else ''}\n")
    lines += [f"*Before*: {claim.before}\n"] if claim.before else []
    lines += ["| difference | of | claimed | here, with its interval | | could have shown |", "|---|---|---|---|---|---|"]
    for each in finding.contrasts:
        name = short(each.terms, _terms(finding))
        name = f"{name}: words of style − other words" if each.measure == "style" else name
        name = f"**{name}**" if each.deciding else name
        could = amount(each.measure, each.detectable)
        lines.append(f"| {name} | {each.measure} | {SAYS[each.says]} | {interval(each)} | {mark(each)} | {could} |")
    lines += [
        "",
        *(f"![{_alt(claim, name)}](laboratory/{name}.svg)\n" for name in own_pictures(claim, there)),
        *_arms(finding.arms),
        *(_teachers(finding.teachers) if "scaling" in claim.pictures else []),
        *_words(finding.words),
    ]
    lines += [line for case in finding.cases for line in _case(case)]
    return "\n".join(lines)


def own_pictures(claim: Claim, there: Collection[str]) -> list[str]:
    """Return which of the pictures are the claim's."""
    return sorted(name for name in there if name == claim.name or (name.startswith(f"{claim.name}-") and _owner(name) == claim.name))


def _alt(claim: Claim, name: str) -> str:
    further = name.removeprefix(claim.name).strip("-")
    return f"{claim.title}: {further}" if further else f"{claim.title}: differences with their intervals"


def _owner(name: str) -> str:
    """Return the claim that a picture is of: the longest that begins its name."""
    return max((claim for claim in CLAIMS if name == claim or name.startswith(f"{claim}-")), key=len)


def _arms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| student | taught | rows | seeds | right, 95 % interval | tokens per answer | cut off |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        star = "" if row["matched"] else " \\*"
        floor = "" if row.get("learned", True) else " °"
        seeds = f"{row['num_seeds']}, all alike" if row.get("alike") else row["num_seeds"]
        lines.append(
            f"| {row['student']} | {row['label']}{star}{floor} | {row.get('num_rows') or '–'} | {seeds} | {_share(row, 'accuracy')} "
            f"| {row['mean_response_tokens']:.0f} | {100 * row['truncated_share']:.1f} % |"
        )
    if not all(row["matched"] for row in rows):
        lines += ["", "\\* trained with other settings than the rest."]
    return [*lines, ""]


def _teachers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [f"{row['teacher']} {row['right']} of {row['num_traces']} ({row['mean_right_tokens']:.0f} tokens a right trace)" for row in rows]
    return [f"Teachers, right on: {', '.join(told)}.\n"] if told else []


def _share(row: Mapping[str, Any], name: str) -> str:
    return f"{100 * row[name]:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _words(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = ["| student | taught | tokens shifted | words that moved most, with their mean shift in ranks |", "|---|---|---|---|"]
    for row in rows:
        words = ", ".join(f"`{word}` {shift:.0f}" for word, shift in row["words"])
        lines.append(f"| {row['student']} | {row['label']} | {_share(row, 'shifted')} | {words} |")
    return [*lines, ""]


def _case(case: Mapping[str, Any]) -> list[str]:
    lines = [f"**{case['student']}, {case['problem']}**: {case['why']}\n", f"> {_cell(case['question'])} *(right: {case['gold']})*\n"]
    lines += ["| taught | right | an answer like most of its answers |", "|---|---|---|"]
    for each in case["answers"]:
        lines.append(f"| {each['label']} | {each['right']} of {each['samples']} | {_cell(each['text'])} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    """Return text as Markdown shows it as it stands, in one line of a table."""
    for special in "\\`*_[]<>|$":
        text = text.replace(special, f"\\{special}")
    return text.replace("\n", "<br>")


def _origins(findings: Mapping[str, Finding]) -> str:
    lines = [
        "## Where the numbers come from\n",
        "The policy of verdicts is in the hashes: by another one the same answers make a report of another name.\n",
        "| claim | recipe | report | policy |",
        "|---|---|---|---|",
    ]
    told = [(name, findings[name]) for name in CLAIMS if name in findings]
    lines += [f"| {name} | `{each.recipe}` | `{each.report}` | {each.policy} |" for name, each in told]
    return "\n".join([*lines, ""])
