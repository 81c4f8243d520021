"""How arms were trained, on made-up logs: the figures, the thinned curves, what is drawn and what is said of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import made_up
import pytest

from mixray import recipe, report
from mixray.errors import MixrayError, StoreError
from mixray.report import Arm, curves, markdown, numerals, page, training_plots, training_words
from mixray.report.build import build
from mixray.store import Artefact, Store

SETTINGS = recipe.Report(num_resamples=200)
SHARES = {None: 0.15, 0.0: 0.55, 0.5: 0.75, 1.0: 0.30}


def made(store: Store, arms: Sequence[Arm]) -> dict[str, Any]:
    """Return the content of the report of these arms."""
    return build("made-up", arms, made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store), SETTINGS, 0, {"name": "made-up"})


def arms(store: Store, **logs: Sequence[Mapping[str, Any]] | None) -> list[Arm]:
    """Make up one seed of short, mix and long; a log under the mixture's name takes the place of the usual one."""
    found = made_up.arms(store, shares=SHARES, problems={"made-up-test": 40})
    return [replace(arm, trained=made_up.trained(store, arm.name, logs[arm.label])) if arm.label in logs else arm for arm in found]


def told(store: Store, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the curve of a student with this log."""
    columns = curves.read_log(made_up.trained(store, "base-short-s0", log))
    assert columns is not None
    return curves.curve(columns)


def by_name(found: Mapping[str, Any]) -> dict[str, Any]:
    return {row["arm"]: row["training"] for row in found["arms"]}


def test_every_arm_has_the_figures_of_its_training_and_the_untouched_none(store: Store) -> None:
    found = made(store, arms(store))
    training = by_name(found)
    assert training.pop("base-untouched") is None
    assert set(found["curves"]) == set(training) == {"base-short-s0", "base-mix-0.5-s0", "base-long-s0"}
    short = training["base-short-s0"]
    assert {name: short[name] for name in curves.OUTCOME} == {name: made_up.OUTCOME[name] for name in curves.OUTCOME}
    assert (short["seen_tokens"], short["seen_loss_tokens"]) == (90 * 400, 90 * 200)
    assert short["tokens_per_second"] == pytest.approx(800)
    assert short["mfu"] == pytest.approx(0.26)  # of 0.25, 0.26 and 0.27
    assert short["padding_share"] == pytest.approx(0.2)
    assert short["peak_memory_bytes"] == 2**30 + 90


def test_speed_and_padding_are_those_of_all_steps_together(store: Store) -> None:
    few, many = made_up.steps(2)
    log = [
        {**few, "num_tokens": 100, "seconds": 3.0, "padding_share": 0.75},
        {**many, "num_tokens": 900, "seconds": 1.0, "padding_share": 0.1},
    ]
    figures = by_name(made(store, arms(store, short=log)))["base-short-s0"]
    assert figures["tokens_per_second"] == pytest.approx(250)
    assert figures["padding_share"] == pytest.approx(1 - 1000 / (400 + 1000))


def test_a_short_log_is_told_step_by_step(store: Store) -> None:
    log = made_up.steps(90)
    curve = told(store, log)
    assert (curve["steps_per_point"], curve["smoothed_steps"]) == (1, 3)
    assert curve["step"] == list(range(1, 91))
    assert curve["loss_tokens"] == [200 * step for step in range(1, 91)]
    for name in ("loss", "grad_norm", "learning_rate"):
        assert curve[name] == pytest.approx([row[name] for row in log], rel=1e-5)
    losses = [row["loss"] for row in log]
    assert curve["smoothed_loss"][40] == pytest.approx(fmean(losses[39:42]), rel=1e-5)
    assert curve["smoothed_loss"][0] == pytest.approx(fmean(losses[:2]), rel=1e-5)
    assert curve["smoothed_loss"][-1] == pytest.approx(fmean(losses[-2:]), rel=1e-5)


def test_a_long_log_is_thinned_by_trained_tokens_and_keeps_spikes(store: Store) -> None:
    log = [{**row, "num_loss_tokens": 100 + row["step"] % 7} for row in made_up.steps(1000)]
    log[500]["grad_norm"] = 77.0
    curve = told(store, log)
    size = curve["steps_per_point"]
    chunks = [log[start : start + size] for start in range(0, len(log), size)]
    assert (size, len(chunks)) == (4, 250)
    assert curve["step"] == [chunk[-1]["step"] for chunk in chunks]
    trained = [sum(row["num_loss_tokens"] for row in chunk) for chunk in chunks]
    assert curve["loss_tokens"][-1] == sum(trained)
    weighted = [sum(row["loss"] * row["num_loss_tokens"] for row in chunk) for chunk in chunks]
    assert curve["loss"] == pytest.approx([loss / tokens for loss, tokens in zip(weighted, trained, strict=True)], rel=1e-5)
    assert max(curve["grad_norm"]) == curve["grad_norm"][500 // size] == 77.0
    assert curve["learning_rate"][-1] == pytest.approx(log[-1]["learning_rate"], rel=1e-5)


@pytest.mark.parametrize("num_steps", [1, 2, 299, 300, 301, 599, 601, 1234])
def test_a_curve_ends_at_the_last_step_and_never_has_too_many_points(store: Store, num_steps: int) -> None:
    curve = told(store, made_up.steps(num_steps))
    assert curve["step"][-1] == num_steps
    assert all(one < other for one, other in pairwise(curve["step"]))
    lengths = {len(values) for values in curve.values() if isinstance(values, list)}
    assert len(lengths) == 1
    assert lengths.pop() <= curves.MOST_POINTS


def test_a_hundred_thousand_steps_stay_small_and_fast(store: Store) -> None:
    log = made_up.steps(100_000)
    found = arms(store, short=log, long=log)
    started = time.process_time()
    content = made(store, found)
    text = page.render(content)
    # A second or two of the processor.
    assert time.process_time() - started < 30
    assert len(json.dumps(content["curves"])) < 100_000
    assert len(text) < 400_000


def test_one_step_is_drawn_as_a_point(store: Store) -> None:
    found = made(store, arms(store, short=made_up.steps(1), **{"mix-0.5": None, "long": None}))
    assert len(found["curves"]["base-short-s0"]["step"]) == 1
    drawn = training_plots.pictures(training_plots.lines(found, "base"), "base", training_words.NOTES)
    assert len(drawn) == 4
    for picture in drawn:
        assert re.search(r'<g class="easy">.*<circle [^>]*class="dot"', picture.svg), picture.title


def test_arms_without_a_log_are_named_and_nothing_is_drawn_of_them(store: Store) -> None:
    some = made(store, arms(store, long=None))
    assert set(some["curves"]) == {"base-short-s0", "base-mix-0.5-s0"}
    figures = by_name(some)["base-long-s0"]
    assert (figures["num_steps"], figures["last_loss"]) == (90, 0.25)
    assert figures["tokens_per_second"] is figures["mfu"] is figures["padding_share"] is figures["seen_tokens"] is None
    for text in (page.render(some), markdown.render(some)):
        assert re.search(r"No curve, as no log of steps was written [^:]*: base-long-s0\.", text)
    none = made(store, arms(store, **dict.fromkeys(("short", "mix-0.5", "long"))))
    assert none["curves"] == {}
    assert "training loss against" not in page.render(none)


def test_a_merged_student_that_was_never_trained_itself_has_no_figures(store: Store) -> None:
    found = arms(store)
    merged = replace(found[-1], trained=made_up.trained(store, "merged", None, {"merged_from": 2}))
    content = made(store, [*found[:-1], merged])
    assert by_name(content)[merged.name] is None
    assert f"{merged.name}." in page.render(content)
    assert markdown.render(content)


def test_where_nothing_was_trained_the_page_says_so(store: Store) -> None:
    found = made(store, [arm for arm in arms(store) if arm.mixture is None])
    assert "Nothing was trained." in page.render(found)
    assert "Nothing was trained." in markdown.render(found)


@pytest.mark.parametrize("hole", [None, float("nan"), float("inf")], ids=["null", "nan", "infinite"])
def test_what_is_not_a_number_becomes_null(store: Store, hole: float | None) -> None:
    holes = dict.fromkeys(("loss", "grad_norm", "learning_rate", "mfu", "peak_memory_bytes"), hole)
    log = [{**row, **holes} if row["step"] in (1, 7, 90) else row for row in made_up.steps(90)]
    empty = [{**row, **holes, "padding_share": hole, "seconds": hole} for row in made_up.steps(3)]
    found = made(store, arms(store, short=log, long=empty))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    curve = found["curves"]["base-short-s0"]
    assert [place for place, loss in enumerate(curve["loss"]) if loss is None] == [0, 6, 89]
    assert None not in curve["smoothed_loss"]
    assert by_name(found)["base-short-s0"]["mfu"] == pytest.approx(0.26)
    assert by_name(found)["base-long-s0"]["mfu"] is None
    assert set(found["curves"]["base-long-s0"]["loss"]) == {None}
    assert "nan" not in page.render(found).lower().split('<h2 id="training">')[1].split("<script>")[0]
    assert "base-long-s0" in training_words.told(found, "base")[-1]


def test_seeds_of_a_mixture_share_a_colour_and_mixtures_do_not(store: Store) -> None:
    shares = {None: 0.2, **{place / 10: 0.5 for place in range(11)}}
    found = made(store, made_up.arms(store, seeds=(0, 1), shares=shares, problems={"made-up-test": 20}))
    lines = training_plots.lines(found, "base")
    assert len(lines) == 22
    looks = {(line.label, line.look) for line in lines}
    assert len(looks) == len({label for label, _ in looks}) == len({look for _, look in looks}) == 11


def test_the_ends_of_a_blend_have_the_colours_they_have_in_the_other_plots(store: Store) -> None:
    lines = training_plots.lines(made(store, arms(store)), "base")
    assert {line.label: line.look.colour for line in lines} == {"short": "easy", "mix-0.5": "mix", "long": "hard"}


def test_every_plot_says_what_to_see_and_the_page_warns_of_comparing_losses(store: Store) -> None:
    found = made(store, arms(store))
    text = page.render(found)
    for note in training_words.NOTES.values():
        assert note.replace("'", "&#39;") in text
    for shown in (text, markdown.render(found)):
        assert "A lower training loss of another mixture does not mean a better student" in shown
        assert "at most 300 points" in shown


def test_the_lowest_loss_is_held_against_the_highest_accuracy(store: Store) -> None:
    found = made(store, arms(store))
    words = " ".join(training_words.told(found, "base"))
    assert "The smoothed loss fell in every arm that has a curve." in words
    assert re.search(r"long ends at the lowest loss \(0\.\d{4}\) with an accuracy of .+; mix-0\.5, at .+, has the highest accuracy", words)
    lowest = made(store, arms(store, **{"mix-0.5": made_up.steps(90, last=0.01)}))
    assert "mix-0.5 ends at the lowest loss" in " ".join(training_words.told(lowest, "base"))
    assert "the one does not follow from the other" in " ".join(training_words.told(lowest, "base"))


def test_a_loss_that_rose_is_named(store: Store) -> None:
    log = [{**row, "loss": 1 + row["step"] / 100} for row in made_up.steps(90)]
    words = training_words.told(made(store, arms(store, short=log)), "base")
    assert words[0].startswith("The smoothed loss did not fall in base-short-s0 (1.01")


def test_the_markdown_draws_each_curve_in_blocks(store: Store) -> None:
    text = markdown.render(made(store, arms(store)))
    for name in ("base-short-s0", "base-mix-0.5-s0", "base-long-s0"):
        assert re.search(
            rf"\| {re.escape(name)} \| 90 \| 240 \| 6,000 \| [\d.]+ \| █[▁▂▃▄▅▆▇█]{{23}} \| 2\.0000 \| 0\.2500 \| 60 s \|", text
        )


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([3, 2, 1], "█▅▁"), ([1], "▁"), ([2, 2], "▁▁"), ([None, 1, None, 2], "▁█"), ([], "–"), (list(range(100)), "▁▂▃▄▅▆▇█")],
)
def test_a_line_of_blocks_goes_from_the_least_to_the_greatest(values: list[float | None], drawn: str) -> None:
    assert numerals.sparkline(values, width=8) == drawn


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "–"), (0, "0 s"), (0.04, "< 0.1 s"), (0.73, "0.7 s"), (9.96, "10 s"), (119, "119 s"), (600, "10 min")]
)
def test_short_times_keep_a_decimal(seconds: float | None, shown: str) -> None:
    assert numerals.duration(seconds) == shown


def handle(store: Store, given: Sequence[Arm]) -> Artefact:
    return report.handle(store, "made-up", given, {}, {}, made_up.overlaps(store), SETTINGS, 0, {})


def test_another_student_makes_another_report(store: Store) -> None:
    assert handle(store, arms(store)).hash != handle(store, arms(store, short=made_up.steps(10))).hash


@pytest.mark.parametrize(
    "text",
    ["", "not json\n", "[1]\n", '{"step": "one", "loss": "low"}\n', '{"step": 2, "loss": 1}\n{"step": 2, "loss": 1}\n', '{"loss": 1}\n'],
    ids=["empty", "not JSON", "not an object", "not numbers", "a step twice", "no step"],
)
def test_a_log_that_cannot_be_understood_is_refused(store: Store, text: str) -> None:
    artefact = store.artefact("students", "base-short-s0", {})
    with artefact.staging() as staging:
        (staging.folder / "training.jsonl").write_text(text, encoding="utf-8")
        staging.outcome = dict(made_up.OUTCOME)
    with pytest.raises(MixrayError, match="A training log cannot be read") as refused:
        curves.read_log(artefact)
    assert artefact.label in refused.value.seen
    assert refused.value.rule
    assert refused.value.do


@pytest.mark.parametrize("change", ["removed", "cut"])
def test_a_log_that_is_not_the_committed_one_is_refused(store: Store, change: str) -> None:
    artefact = made_up.trained(store, "base-short-s0", made_up.steps(9))
    path = artefact.local_folder() / "training.jsonl"
    text = path.read_text(encoding="utf-8")
    path.unlink()
    if change == "cut":
        path.write_text(text[:-20], encoding="utf-8")
    with pytest.raises(StoreError, match="not what its manifest says"):
        curves.read_log(artefact)
