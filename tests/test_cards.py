"""Cards tell what the report tells: a student's scores and gaps are read from there, and nothing of the machine is in any card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import made_up_mixtures
import pyarrow as pa
import pytest
import yaml
from command_line import called
from huggingface_hub.repocard_data import model_index_to_eval_results

from mixray import card as parts
from mixray import cards, recipe, report
from mixray.mixing.card import card as mixture_card
from mixray.progress import StageProgress
from mixray.report.answers import Arm
from mixray.rows import EXAMPLE, SCORE, TRACE
from mixray.store import Artefact, Store
from mixray.teachers import shelf
from mixray.teachers.card import card as pool_card
from mixray.training.measured import Gap, Measured, Score, gaps_told, limits, scores_told

Capture = pytest.CaptureFixture[str]
NUM = 40
ASKED = {
    "num_samples": 1,
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 512,
    "seed": 0,
    "student_prompt": "{question}",
    "secret": "/home/me",
}


def scores(store: Store, name: str, num_right: int, inputs: dict[str, Artefact]) -> Artefact:
    rows = [
        dict.fromkeys(SCORE.names) | {
            "problem_id": f"p{number:02}", "benchmark": "sums", "sample": 0, "question": f"{number}?", "gold": "1", "response": "1",
            "finish_reason": "length" if number == NUM - 1 else "stop", "num_response_tokens": 5, "status": "ok",
            "verdict": "right" if number < num_right else "wrong",
        }
        for number in range(NUM)
    ]  # fmt: skip
    made = store.artefact("scores", name, {**ASKED, "rights": num_right}, inputs)
    with made.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(rows, schema=SCORE))
    return made


def student(store: Store, mixture: Artefact) -> Artefact:
    made = store.artefact("students", "arm-s0", {"train": {"epochs": 2}, "seed": 0, "model": "0123456789abcdef"}, {"mixture": mixture})
    with made.staging() as staging:
        (staging.folder / "README.md").write_text("---\nlicense: unknown\n---\n# arm-s0\n")
        staging.outcome = {"num_steps": 3, "base_model": "tiny:student-s"}
    return made


def overlaps(store: Store, num: int = 2) -> Artefact:
    made = store.artefact("overlaps", "train", {"num": num}, {"benchmark sums": store.artefact("problems", "sums", {})})
    with made.staging() as staging:
        staging.write_json("hits.json", [])
        staging.write_json("twins.json", [])
        staging.outcome = {"num_problems": 120, "num_contaminated": num, "num_repeated": 0, "hits": {}, "twins": {}}
    return made


@pytest.fixture
def mixture(store: Store) -> Artefact:
    """A mixture whose problems were searched for overlaps."""
    made = made_up_mixtures.make_mixture(store, "half", made_up_mixtures.make_pools(store), range(4))
    return replace_inputs(made, overlaps=overlaps(store).hash)


def replace_inputs(made: Artefact, **hashes: str) -> Artefact:
    """Let a committed artefact's manifest name further inputs."""
    path = Path(made.path) / "manifest.json"
    told = json.loads(path.read_text())
    told["inputs"] |= hashes
    path.write_text(json.dumps(told))
    return made.store.open(made.kind, made.folder)


@pytest.fixture
def taught(store: Store, mixture: Artefact) -> Artefact:
    return student(store, mixture)


@pytest.fixture
def told(store: Store, mixture: Artefact, taught: Artefact, quiet: StageProgress) -> dict[str, Any]:
    """The content of a report of the student and its untouched base."""
    common = {"student": "base", "blend": None, "alpha": None, "matched": True}
    arms = [
        Arm(name="base-untouched", mixture=None, seed=None, trained=None, model="tiny:student-s", **common,
            scores=scores(store, "base-untouched", 10, {})),
        Arm(name="arm-s0", mixture="half", seed=0, trained=taught, model=taught.label, **common,
            scores=scores(store, "arm-s0", 30, {"student": taught})),
    ]  # fmt: skip
    made = report.run(store, "r", arms, {}, {}, overlaps(store), recipe.Report(num_resamples=1000), 0, {"name": "r"}, quiet)
    return dict(made.read_json("report.json"))


def head(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def printed(capsys: Capture, *arguments: str) -> str:
    assert called(*arguments) == 0
    return capsys.readouterr().out


def test_the_card_and_the_report_tell_the_same(store: Store, taught: Artefact, told: dict[str, Any], capsys: Capture) -> None:
    text = printed(capsys, "student", "card", "arm-s0", "--storage", store.url)
    arm, gap = told["arms"][1], told["gaps"][0]
    score = arm["scores"]["sums"]
    interval = f"[{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
    assert f"| sums | 75.0 % | {interval} | 40 | 1 | 2.5 % | `{arm_scores(told)}` |" in text
    difference = f"{100 * gap['difference']:+.1f} [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
    assert f"| sums | {difference} | above | 1 |" in text
    (result,) = model_index_to_eval_results(head(text)["model-index"])[1]
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("sums", "accuracy", 75.0)
    assert result.metric_name == f"avg@1, percent right, 95% interval {interval}"
    assert "Scores and differences are those of `reports/r-" in text
    assert f"numpy {told['provenance']['versions']['numpy']}" in text
    assert head(text)["license"] == "apache-2.0"


def arm_scores(told: dict[str, Any]) -> str:
    return next(row["label"] for row in told["provenance"]["artefacts"] if row["role"] == "scores of arm-s0")


def test_without_a_report_the_scores_are_told_alone(store: Store, taught: Artefact) -> None:
    made = scores(store, "arm-s0", 30, {"student": taught})
    found = cards.measured(store, taught)
    assert [(score.benchmark, score.accuracy, score.source, score.truncated_share) for score in found.scores] == [
        ("sums", 0.75, made.label, 1 / NUM)
    ]
    assert (found.gaps, found.report) == ((), None)
    assert "No report tells how far it is from the model it was made from." in limits(found)


def test_what_a_student_was_taught_is_told_with_teachers_and_contamination(
    store: Store, taught: Artefact, told: dict[str, Any], capsys: Capture
) -> None:
    text = printed(capsys, "student", "card", "arm-s0", "--storage", store.url)
    assert "| long | 4 (50.0%) | 160 (74.1%) | 120 (88.2%) |" in text
    assert re.search(r"\| long \| imported traces \| – \| – \| – \| – \| – \| `pools/long-[0-9a-f]{12}` \|", text)
    assert "Of 120 problems that were searched for overlaps with sums, 2 were found and left out." in text


def test_no_card_tells_of_the_machine(store: Store, taught: Artefact, told: dict[str, Any], capsys: Capture) -> None:
    for arguments in (("student", "card", "arm-s0"), ("mixture", "card", "half")):
        text = printed(capsys, *arguments, "--storage", store.url)
        assert store.root not in text
        assert "/home/me" not in text


SCORES = Measured(
    scores=[Score("sums", 0.756, 250, "scores/x-0123456789ab", 0.7, 0.8, 1000, 0.125), Score("a|b", 0.5, 30, "scores/y-0123456789ab")],
    gaps=[Gap("sums", 0.031, -0.002, 0.064, "no difference shown", 1), Gap("a|b", -0.2, -0.3, -0.1, "untouched better", 1)],
    asked={"student_prompt": "{question}\nThink.", "num_samples": 4}, confidence=0.9,
)  # fmt: skip
SCORES_TOLD = """\
| benchmark | right | 90 % interval | problems | answers each | cut off | from |
| --- | --- | --- | --- | --- | --- | --- |
| sums | 75.6 % | [70.0, 80.0] | 250 | 4 | 12.5 % | `scores/x-0123456789ab` |
| a\\|b | 50.0 % | – | 30 | – | – | `scores/y-0123456789ab` |

How it was asked: user turn: "{question}\\nThink.", answers per problem: 4. No stop strings were sent; \
an answer that was cut off is not right.

Percentage points, paired on the same problems, with 90 % intervals.

| benchmark | difference | verdict | training seeds |
| --- | --- | --- | --- |
| sums | +3.1 [-0.2, +6.4] | no difference shown | 1 |
| a\\|b | -20.0 [-30.0, -10.0] | below | 1 |

* It is not shown to differ from the untouched student on sums.
* It is worse than the untouched student on a\\|b.
* One training seed: how far another would fall from these figures was not measured, and no interval holds it.
* Answers were cut off at the token limit, and count as not right, on sums (12 %).
* Problems that its benchmarks ask were among those it was trained on.
* Verdicts are those of a rule on final answers; the reasoning before them was not judged.
* It was trained for mathematics alone; nothing was measured of other tasks, other languages, or safety."""


def test_scores_gaps_and_limits_word_for_word() -> None:
    kept = f"Of 9 problems 1 was {parts.KEPT}."
    told = [*scores_told(SCORES), *gaps_told(SCORES), "\n".join(f"* {limit}" for limit in limits(SCORES, kept))]
    assert "\n\n".join(told) == SCORES_TOLD


def test_what_was_not_measured_is_said() -> None:
    assert limits(Measured())[0] == "It was not measured on any benchmark."


def test_the_head_of_a_data_set_is_its_schema(mixture: Artefact) -> None:
    told = head(mixture_card(mixture, "mit"))
    assert [column["name"] for column in told["dataset_info"]["features"]] == EXAMPLE.names
    assert told["dataset_info"]["features"][0]["list"] == [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]
    assert told["dataset_info"]["splits"][0]["num_examples"] == 8
    assert (told["license"], told["configs"][0]["data_files"]) == ("mit", [{"split": "train", "path": "data/train-*.parquet"}])


def pool(store: Store, settings: dict[str, Any], inputs: dict[str, Artefact] | None = None) -> Artefact:
    made = store.artefact("pools", "long", settings, inputs)
    with made.staging() as staging:
        staging.write_table("part-00000.parquet", pa.Table.from_pylist([], schema=TRACE))
        staging.outcome = {
            "num_traces": 1400, "num_problems": 700, "num_solved": 690, "accepted": 1160,
            "right": 1162, "wrong": 230, "unknown": 8, "truncated": 3,
            "statuses": {"ok": 1397, "truncated": 3, "error": 0}, "verdict_reasons": {"same": 1162, "different_number": 238},
            "judged": 5, "right_by_judge": 2,
            "strata": [{"subject": "sums", "level": 3, "problems": 700, "traces": 1400, "right": 1162, "accepted": 1160, "solved": 690}],
        }  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("settings", "teacher"),
    [
        ({"model": "Qwen/Qwen2.5-72B-Instruct"}, "`Qwen/Qwen2.5-72B-Instruct`"),
        ({"model": "0123456789abcdef"}, "a local model"),
        ({"model": "gpt-4o", "endpoint": "https://key@secret.example/v1"}, "`gpt-4o`"),
        ({"model": "/home/me/models/teacher", "endpoint": "http://host/v1"}, "`teacher`"),
        ({"traces": "/home/me/traces.jsonl"}, "imported traces"),
    ],
)
def test_a_pools_card_tells_teacher_and_verdicts_and_no_address(settings: dict[str, Any], teacher: str, store: Store) -> None:
    made = pool(store, settings)
    text = pool_card(made)
    assert f"| long | {teacher} | 1,400 | 1,162 | 230 | 8 | 3 | `{made.label}` |" in text
    assert "Rejection sampling keeps 1,160" in text
    assert "A model gave a second opinion on 5 answers; 2 of the right ones rest on it." in text
    assert "| sums | 3 | 700 | 83.0% | 690 |" in text
    assert not re.search(r"/home/me|secret\.example", text)
    judged = pool(store, {"judge": "x"}, {"pool": made})
    assert parts.teacher(judged).how == parts.teacher(made).how


def test_a_pool_is_loaded_with_its_card(store: Store, tmp_path: Path) -> None:
    traces = [made_up_mixtures.trace(f"p{number}", "long") for number in range(3)]
    made = store.artefact("pools", "long", {"model": "a/b"})
    counts = {"num_traces": 3, "num_problems": 3, "num_solved": 3, "right": 3, "wrong": 0, "unknown": 0, "accepted": 3, "strata": []}
    with made.staging() as staging:
        staging.write_table("part-00000.parquet", pa.Table.from_pylist(traces, schema=TRACE))
        staging.outcome = counts
    (tmp_path / "out").mkdir()
    assert shelf.export(made, tmp_path / "out" / "traces.parquet", "parquet", shelf.Wanted()) == 3
    (tmp_path / "out" / "README.md").write_text(pool_card(made))
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == [*TRACE.names, "messages"]
    assert rows["response"][:] == [trace["response"] for trace in traces]


def test_pools_are_printed_by_the_command(store: Store, capsys: Capture) -> None:
    made = pool(store, {"model": "a/b"})
    assert printed(capsys, "pool", "card", "long", "--license", "mit", "--storage", store.url) == pool_card(made, "mit")
    assert called("pool", "card", "long", "--license", "M I T", "--storage", store.url) == 1
    assert "A license is wrong" in capsys.readouterr().err


def test_a_mixture_whose_overlaps_are_gone_says_so(store: Store) -> None:
    made = made_up_mixtures.make_mixture(store, "half", made_up_mixtures.make_pools(store), range(4))
    assert "Whether its problems are in a benchmark is not known" in mixture_card(made)
