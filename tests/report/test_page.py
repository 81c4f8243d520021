"""The page as text: whole, closed, the same each time, needing nothing from outside, and safe whatever names and answers say."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import made_up
import made_up_page
import numpy as np
import pyarrow as pa
import pytest

from mixray import recipe, rows
from mixray.report import Arm, drawings, origins, page, responses
from mixray.report.build import build
from mixray.report.responses import Responses
from mixray.store import Store

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "br", "hr", "img", "link", "input"}
BENCHMARKS = 5
Rich = tuple[list[Arm], dict[str, Any], Responses]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Rich:
    """Two students with seven arms each on five small benchmarks, two seeds, and their report."""
    store = Store(str(tmp_path_factory.mktemp("page")))
    arms = made_up_page.arms(store, scale=0.003, seeds=(0, 1))
    content = made_up_page.report(store, arms, num_resamples=100)
    return arms, content, made_up_page.told(store, arms, content)


class Reader(HTMLParser):
    """Collects what the page refers to and shows, and checks that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.styled: list[str] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name.split(":")[-1] in {"src", "href", "srcset", "action", "data"}:
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "style":
                self.styled.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def test_the_page_is_whole_and_needs_nothing_from_outside(rich: Rich) -> None:
    arms, content, told = rich
    text = page.render(content, told)
    reader = Reader(text)
    assert reader.open == []
    assert not {"iframe", "img", "object", "base"} & set(reader.tags)
    assert reader.tags["script"] == 2  # the script and the packed responses
    assert set(reader.references) <= {"data:,", *(f"#{name}" for name in reader.ids)}
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.search(r"https?://|@import|url\(", text.split("<main>")[0])
    assert reader.styled == []  # the policy would not let them
    assert {arm.name for arm in arms} <= set(reader.shown)
    assert {arm.label for arm in arms} <= set(reader.shown)


def test_the_policy_names_exactly_the_style_and_the_script_inside(rich: Rich) -> None:
    _, content, told = rich
    text = page.render(content, told)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith("default-src 'none';")
    assert "unsafe" not in allowed
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode("utf-8")).digest()).decode("ascii")
        assert f"{tag}-src 'sha256-{digest}'" in allowed


def cells(text: str, section: str, label: str) -> list[str]:
    """Return the anchors that the numbers of a section's first row of this label lead to, in the order of the columns."""
    part = text[text.index(f'aria-labelledby="{section}"') :]
    row = next(each for each in part.split("<tr>") if f">{label}</a></th>" in each)
    return re.findall(r'href="#([a-z]+-\d+)" tabindex="-1"', row)


def test_costs_lead_to_the_pool_that_was_asked_the_training_and_the_gap(store: Store) -> None:
    arms = made_up.arms(store, shares={None: 0.15, 0.2: 0.75, 1.0: 0.3})
    taught = (made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store))
    content = build("made-up", arms, *taught, recipe.Report(num_resamples=100), 0, {"name": "made-up"})
    text, blocks = page.render(content), origins.of(content)
    for label, alone in (("long", "pool long"), ("mix-0.2", None)):
        arm, trained = blocks.arm("base", label), blocks.source(f"student base-{label}-s0")
        pool = blocks.source(alone) if alone else arm  # of two pools the block of the arm names both
        gap = blocks.gap({"student": "base", "hard": label, "easy": "untouched"})
        anchors = cells(text, "costs", label)
        assert anchors == [gap, pool, arm, pool, pool, arm, trained, trained, arm]
        block = next(each for each in blocks.arms if each["anchor"] == arm)
        assert {each["arm"] for each in block["sources"] if each["what"] == "pool"} == ({"long"} if alone else {"long", "short"})


def test_a_report_read_back_from_its_file_is_the_same_page(rich: Rich) -> None:
    _, content, told = rich
    assert page.render(json.loads(json.dumps(content, sort_keys=True)), told) == page.render(content, told)


def test_every_plot_of_the_contract_is_drawn(rich: Rich) -> None:
    _, content, told = rich
    reader = Reader(page.render(content, told))
    scopes, students, blends = len(content["scopes"]), 2, 2
    scaled = [row for row in content["scaling"] if row["kind"] in drawings.SCALED]
    # Of each student and scope: accuracies, gaps, an alpha curve of each blend, lengths, budgets. Of each student: four of the training.
    # All questions together: the same, less lengths and budgets.
    drawn = students * (scopes * (2 + blends + 2) + (2 + blends) + 4) + len(scaled)
    assert reader.tags["figure"] == drawn
    assert {row["name"] for row in scaled} >= {"long - short", "large - small"}


def test_every_number_of_an_arm_and_of_a_gap_leads_to_what_it_was_made_from(rich: Rich) -> None:
    _, content, told = rich
    text = page.render(content, told)
    for group in content["groups"]:
        place = content["groups"].index(group)
        block = re.search(rf'<article class="origin" id="arm-{place}">(.*?)</article>', text, flags=re.DOTALL)
        assert block is not None
        anchors = re.findall(r'href="#(artefact-\d+)"', block[1])
        assert len(anchors) >= len(group["arms"])
        shown = f'<b><a class="src" href="#arm-{place}" tabindex="-1">{100 * group["overall"]["accuracy"]:.1f} %</a></b>'
        assert shown in text
        for arm in group["arms"]:
            assert re.search(rf"answers of {re.escape(arm)}:", block[1])
    for row in content["provenance"]["artefacts"]:
        for file in row["files"]:
            assert file["sha256"] in text
    for name in ("pool long", "mixture short"):
        assert name in text


def test_the_page_is_the_same_bytes_each_time(rich: Rich) -> None:
    arms, content, told = rich
    again = responses.gather(list(reversed(arms)), content)
    assert page.render(content, told) == page.render(json.loads(json.dumps(content)), again)


def test_names_cannot_inject_markup(store: Store) -> None:
    arms = [
        replace(arm, student=HOSTILE, name=f"{HOSTILE}-{arm.name}", mixture=arm.mixture and f"<img src=x onerror=alert(1)>{arm.mixture}")
        for arm in made_up.arms(store, shares={None: 0.2, 0.0: 0.5, 0.5: 0.6, 1.0: 0.4})
    ]
    content = made_up_page.report(store, arms, num_resamples=50)
    reader = Reader(page.render(content, responses.gather(arms, content)))
    assert reader.tags["script"] == 2
    assert "img" not in reader.tags
    assert reader.handlers == []
    assert HOSTILE in reader.shown


def hostile(store: Store, limit: int = 8000) -> tuple[list[Arm], dict[str, Any]]:
    """Return two arms whose questions, answers and responses are the hostile texts, and their report with a case for each."""
    rights = {"made-up-test": np.ones((len(made_up_page.HOSTILE), 1), dtype=int)}
    arms = []
    for arm in (made_up.arm(store, None, rights), made_up.arm(store, 0.0, rights)):
        asked = arm.scores.read_table().to_pylist()
        for row, text in zip(asked, made_up_page.HOSTILE, strict=True):
            row.update(question=text[:limit], response=text, answer=text[:200], gold=text[:200], verdict_reason=text[:50])
        artefact = store.artefact("scores", f"hostile-{arm.name}", {})
        with artefact.staging() as staging:
            staging.write_table("scores.parquet", pa.Table.from_pylist(asked, schema=rows.SCORE))
        arms.append(replace(arm, scores=artefact))
    content = made_up_page.report(store, arms, num_resamples=50)
    content["cases"] = [
        {
            "why": HOSTILE, "student": "base", "benchmark": "made-up-test", "problem_id": f"made-up-test-{place:04d}",
            "labels": ["untouched", "short"],
        }
        for place in range(len(made_up_page.HOSTILE))
    ]  # fmt: skip
    return arms, content


def test_texts_of_models_cannot_inject_markup(store: Store) -> None:
    arms, content = hostile(store)
    told = responses.gather(arms, content)
    assert told.num_cases == len(made_up_page.HOSTILE)
    text = page.render(content, told)
    reader = Reader(text)
    assert reader.tags["script"] == 2
    assert "img" not in reader.tags
    assert reader.handlers == []
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", told.packed)
    assert "\x00" not in text
    assert "null ␀ byte, bell ␇" in text


def test_without_responses_neither_cases_nor_browser_are_shown(rich: Rich) -> None:
    _, content, _ = rich
    text = page.render(content)
    assert 'id="cases"' not in text
    assert 'id="responses"' not in text
    assert 'href="#cases"' not in text


def unpacked(told: Responses) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(base64.b64decode(told.packed))))


def test_the_packed_responses_are_those_of_the_score_rows(rich: Rich) -> None:
    arms, content, told = rich
    data = unpacked(told)
    assert len(data["problems"]) == told.num_problems == len({key(row) for row in asked(arms[0])})
    assert [(arm["student"], arm["label"]) for arm in data["arms"]] == [(row["student"], row["label"]) for row in content["groups"]]
    for place, group in enumerate(content["groups"]):
        of_group = [arm for arm in arms if arm.name in group["arms"]]
        right = Counter(key(row) for arm in of_group for row in asked(arm) if row["verdict"] == "right")
        number = Counter(key(row) for arm in of_group for row in asked(arm))
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for row in (row for arm in of_group for row in sorted(asked(arm), key=lambda row: row["sample"])):
            if (row["verdict"] == "right") == (right[key(row)] > number[key(row)] / 2):
                first.setdefault(key(row), row)
        for problem in data["problems"]:
            shown, row = problem["responses"][place], first[key(problem)]
            expected = (row["num_response_tokens"], row["answer"], right[key(row)], number[key(row)])
            assert (shown["tokens"], shown["answer"], shown["right"], shown["samples"]) == expected
            assert (shown["outcome"] == "right") == (row["verdict"] == "right")
            whole = shown["text"] if not shown["left_out"] else shown["text"].split("\n\n[… ")[0]
            assert row["response"].startswith(whole)
            assert (problem["question"], problem["gold"], problem["level"]) == (row["question"], row["gold"], row["level"])


def asked(arm: Arm) -> list[dict[str, Any]]:
    return list(arm.scores.read_table().to_pylist())


def key(row: dict[str, Any]) -> tuple[str, str]:
    return row["benchmark"], row["problem_id"]


def test_a_smaller_bound_shows_a_beginning_of_the_same_problems(rich: Rich) -> None:
    arms, content, told = rich
    whole = [key(problem) for problem in told.problems]
    cases = list(dict.fromkeys(key(case) for case in content["cases"]))
    assert whole[: len(cases)] == cases
    rest = whole[len(cases) :]
    first_turn = {benchmark for benchmark, _ in rest[:BENCHMARKS]}
    assert len(first_turn) == BENCHMARKS
    numbers = []
    for most_bytes in (0, 12_000, 25_000, 50_000):
        few = responses.gather(arms, content, most_bytes)
        assert [key(problem) for problem in few.problems] == whole[: len(few.problems)]
        assert len(few.packed) <= max(most_bytes, 300)  # the names of the arms alone
        assert few.num_problems == told.num_problems
        numbers.append(len(few.problems))
    assert numbers[0] == 0 < numbers[1] < numbers[2] < numbers[3]
    assert f"{numbers[1]} of {told.num_problems} problems" in page.render(content, responses.gather(arms, content, 12_000))


def test_score_rows_of_earlier_versions_are_shown(store: Store) -> None:
    arms, content = hostile(store)
    old = arms[0].scores.read_table().drop_columns(["question", "gold", "status", "repetition", "seconds", "num_prompt_tokens"])
    artefact = store.artefact("scores", "old", {})
    with artefact.staging() as staging:
        staging.write_table("scores.parquet", old)
    told = responses.gather([replace(arm, scores=artefact) for arm in arms], content)
    assert len(told.problems) == len(made_up_page.HOSTILE)
    assert told.problems[0]["question"] is None
    assert "Known answer: <code>–</code>" in page.render(content, told)


def test_a_very_long_response_loses_its_middle_and_says_so(store: Store) -> None:
    arms, content = hostile(store)
    told = responses.gather(arms, content)
    shown = told.find("made-up-test", f"made-up-test-{len(made_up_page.HOSTILE) - 1:04d}")
    assert shown is not None
    response = shown["responses"][0]
    assert response["left_out"] == 100_000 - responses.MOST_CHARACTERS
    assert f"[… {response['left_out']:,} characters left out here …]" in response["text"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"verdict": "right"}, "right"),
        ({"verdict": "right", "status": "looping"}, "right"),
        ({"status": "error", "finish_reason": "error", "answer": ""}, "error"),
        ({"finish_reason": "length", "status": "looping"}, "truncated"),
        ({"status": "looping"}, "looping"),
        ({"answer": " "}, "no answer"),
        ({"answer": None}, "no answer"),
        ({"verdict": "unknown"}, "unknown"),
        ({}, "wrong"),
    ],
)
def test_a_sample_is_counted_under_the_first_word_that_holds(changes: dict[str, Any], word: str) -> None:
    row = {"verdict": "wrong", "status": "ok", "finish_reason": "stop", "answer": "3"}
    assert responses.outcome({**row, **changes}) == word
