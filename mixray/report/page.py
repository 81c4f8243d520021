"""The report as one HTML file that needs neither a server nor a network: styles, pictures, scripts and responses are inside.

Everything but the browser of responses is plain HTML and reads the same with scripts blocked. The page's policy forbids every request
and every style and script but its own two, known by their hashes. Texts of models reach the page escaped, or packed and set as text by
the script; they are never markup.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixray.report import drawings, numerals, origins, plots, training_words, words
from mixray.report.rates import QUANTILES
from mixray.report.responses import OUTCOMES, Responses

Row = Mapping[str, Any]

FOLDER = "html"
POLICY = "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"
# What is left of control characters, which HTML cannot hold, is their picture.
CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
FAILURES = ("wrong", "truncated", "looping", "no answer", "unknown", "error")
"""What became of samples that are not right, in the order it is shown."""


def render(report: Row, responses: Responses | None = None) -> str:
    """Return index.html.

    Args:
        report: the content of report.json.
        responses: what to show of the arms' responses; without them the page has neither case studies nor a browser.
    """
    style, script = (resources.files("mixray.report").joinpath(FOLDER, name).read_text("utf-8") for name in ("style.css", "script.js"))
    scalings, benchmark_scalings = drawings.scalings(report)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            style=Markup(style),
            script=Markup(script),
            policy=POLICY.format(style=_hash(style), script=_hash(script)),
            **_by_student(report),
            scalings=scalings,
            benchmark_scalings=benchmark_scalings,
            training_words=training_words,
            origins=origins.of(report),
            responses=responses,
            cases=responses.cases(report) if responses else [],
            fates=fates,
            quantiles=list(QUANTILES),
            sampled=sampled,
            outcomes=OUTCOMES,
            score=plots.score,
            without=words.WITHOUT,
            too_long=words.too_long(report),
            against_untouched=lambda row, scope: words.against_untouched(report, row, scope),
            direction=words.direction,
            origin=words.origin,
            recipe=_plain_yaml(report["provenance"]["recipe"]),
        )
    )


def _by_student(report: Row) -> dict[str, Any]:
    """Return what the templates tell of each student, by its name."""
    students = list(dict.fromkeys(row["student"] for row in report["groups"]))
    return {
        "students": students,
        "groups": {student: [row for row in report["groups"] if row["student"] == student] for student in students},
        "gaps": {student: _gaps(report, student) for student in students},
        "sentences": {student: [minus(line) for line in words.verdict(report, student)] for student in students},
        "drawings": {student: drawings.of_student(report, student) for student in students},
        "training": {student: [minus(line) for line in training_words.told(report, student)] for student in students},
    }


class Fate(NamedTuple):
    """A share of samples of which the same became, with its interval."""

    word: str
    share: float
    low: float
    high: float


def fates(score: Row) -> list[Fate]:
    """Return what became of the samples of a score, right ones first; the shares make 1."""
    named = {word: f"{word.replace(' ', '_')}_share" for word in FAILURES}
    others = [Fate(word, score[name], *score["share_intervals"][name]) for word, name in named.items()]
    return [Fate("right", score["accuracy"], score["low"], score["high"]), *others]


def sampled(group: Row, report: Row) -> list[tuple[str, list[str]]]:
    """Return the scopes whose problems were asked several times, the headline first, each with the k that pass@k is told for."""
    found = []
    for scope in _scopes(report):
        keys = sorted((key for key in plots.score(group, scope)["pass_at"] if int(key) > 1), key=int)  # pass@1 is avg@n
        if keys:
            found.append((scope, keys))
    return found


def environment() -> Environment:
    """Return the templates with the filters that write numbers."""
    made = Environment(
        loader=PackageLoader("mixray.report", FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(
        percent=lambda share: minus(numerals.percent(share)),
        points=lambda share: minus(numerals.points(share)),
        bracket=lambda score: _bracket(score["low"], score["high"]),
        ends=lambda ends: _bracket(*ends),
        span=lambda gap: minus(f"[{numerals.points(gap['low'])}, {numerals.points(gap['high'])}]"),
        count=numerals.count,
        alpha=numerals.alpha,
        duration=numerals.duration,
        loss=numerals.loss,
        memory=numerals.memory,
        passes=numerals.passes,
        figure=lambda value: numerals.NOTHING if value is None else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}",
        outline=_plain_yaml,
        shown=lambda text: text.translate(CONTROLS),
        visible=lambda text: text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥").translate(CONTROLS),
        slug=lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
        svg=lambda picture: Markup(picture.svg),  # drawn here, its texts escaped
    )
    return made


def minus(text: str) -> str:
    """Return the text with true minus signs before numbers."""
    return text.replace("[-", "[−").replace(" -", " −").replace("− ", "- ") if not text.startswith("-") else "−" + minus(text[1:])


def _bracket(low: float, high: float) -> str:
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _plain_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _gaps(report: Row, student: str) -> dict[str, list[Row]]:
    """Return one student's gaps by scope, the headline's first."""
    scopes = _scopes(report)
    found = {scope: [gap for gap in report["gaps"] if (gap["student"], gap["benchmark"]) == (student, scope)] for scope in scopes}
    return {scope: plots.ordered(gaps) for scope, gaps in found.items() if gaps}


def _scopes(report: Row) -> list[str]:
    """Return benchmarks and means, the headline first."""
    scopes = [scope for scope in (*report["scopes"], report["weighted_scope"]) if scope is not None]
    return sorted(scopes, key=lambda scope: bool(scope != report["headline"]))
