"""A recipe's own verifiers at work: golds, teachers' actors, imports, scores, verdicts anew, and the way to a cluster."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import called

from mixray import evaluation, pipeline, problems, teachers
from mixray.errors import RecipeError, VerifyError
from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.evaluation.score import judge as judge_scores
from mixray.graph import build_graph
from mixray.judging import own_verifier, rule
from mixray.progress import Display, StageProgress
from mixray.recipe import ProblemSet, Recipe
from mixray.recipe_file import parse_recipe
from mixray.store import Artefact, Store
from mixray.submitting.order import Order
from mixray.submitting.travel import pack
from mixray.verify import verify

LETTERS = '''
def judge(responses, golds):
    """Multiple choice: the last capital letter alone."""
    said = [[word.strip(".(){}\\\\boxed") for word in text.split()][-1:] for text in responses]
    return [None if not words or len(words[0]) != 1 else words[0] == gold for words, gold in zip(said, golds)]
'''
QUESTIONS = {"p0": ("Which is even? A 2 B 3", "A"), "p1": ("Which is odd? A 2 B 3", "B"), "p2": ("Which is none? A B", "both")}
TRACES = {"p0": "It is A.", "p1": "It is A.", "p2": "Neither"}


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A folder with problems, traces, and a verifier of a name that no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    lines(tmp_path / "problems.jsonl", [{"id": key, "question": asked, "answer": gold} for key, (asked, gold) in QUESTIONS.items()])
    lines(tmp_path / "old.jsonl", [{"id": key, "response": text, "finish_reason": "stop"} for key, text in TRACES.items()])
    (tmp_path / f"{module(request)}.py").write_text(LETTERS)
    return tmp_path


def module(request: pytest.FixtureRequest) -> str:
    return f"own_{request.node.originalname}"


@pytest.fixture
def data(request: pytest.FixtureRequest, here: Path) -> dict[str, Any]:
    """A recipe whose golds, traces and one benchmark the function judges."""
    old = {"traces": "old.jsonl", "columns": {"problem_id": "id", "finish_reason": "finish_reason"}}
    own = {"source": "problems.jsonl", "verifier": f"{module(request)}:judge"}
    return {
        "name": "small",
        "problems": own,
        "teachers": {"old": old, "new": old},
        "mixtures": {"mix": {"hard": "old", "easy": "new"}},
        "students": {"student": {"model": "tiny:student-s"}},
        "evaluate": {"benchmarks": {"letters": own, "sums": {"source": "tiny", "num_problems": 2}}, "max_tokens": 9},
    }


def recipe(data: dict[str, Any]) -> Recipe:
    return parse_recipe(json.loads(json.dumps(data)), [])


def verdicts(pool: Artefact) -> list[tuple[str, str, str | None]]:
    return [(row["problem_id"], row["verdict"], row["answer"]) for row in pool.read_table().to_pylist()]


def test_a_gold_that_the_verifier_holds_for_wrong_is_set_aside_and_one_it_cannot_read_is_not(
    here: Path, data: dict[str, Any], store: Store, quiet: StageProgress
) -> None:
    source = ProblemSet(**data["problems"])
    made = problems.run(store, "train", source, verify, quiet, own_verifier(source))
    assert made.read_table()["problem_id"].to_pylist() == ["p0", "p1", "p2"], "of `both` it says that it cannot tell"
    strict = source.verifier.partition(":")[0] + "_strict" if source.verifier else ""
    (here / f"{strict}.py").write_text(
        "def judge(responses, golds):\n    return [gold in 'AB' and gold in text for text, gold in zip(responses, golds)]\n"
    )
    source = source.model_copy(update={"verifier": f"{strict}:judge"})
    made = problems.run(store, "train", source, verify, quiet, own_verifier(source))
    assert made.read_table()["problem_id"].to_pylist() == ["p0", "p1"]
    assert made.outcome["set_aside"] == {"gold_not_itself": 1}


def test_what_mixray_holds_against_a_solution_the_verifier_may_overrule(
    here: Path, request: pytest.FixtureRequest, store: Store, quiet: StageProgress
) -> None:
    units = "def judge(responses, golds):\n    return ['5' in text for text in responses]\n"
    (here / f"{module(request)}.py").write_text(units)
    row = {"problem": "How long?", "solution": "It is \\boxed{500}, that is, it is \\boxed{5}."}
    source = ProblemSet(source=lines(here / "lengths.jsonl", [row]), format="math")
    assert next(iter(problems.read(source, verify))).reason == "several_answers"  # type: ignore[union-attr]
    own = own_verifier(source.model_copy(update={"verifier": f"{module(request)}:judge"}))
    assert [problem["answer"] for problem in problems.read(source, verify, own)] == ["5"]  # type: ignore[index]


def test_imported_traces_are_judged_by_it(data: dict[str, Any], store: Store) -> None:
    pool = pipeline.make_pools(recipe(data), store, Display(quiet=True))["old"]
    assert verdicts(pool) == [("p0", "right", "It is A."), ("p1", "wrong", "It is A."), ("p2", "unknown", None)]


@pytest.mark.usefixtures("ray_cluster")
def test_the_actors_of_a_teacher_import_it_from_the_folder_of_the_run(
    here: Path, data: dict[str, Any], store: Store, quiet: StageProgress, random_student: str
) -> None:
    sys.path.append(str(Path(__file__).parent / "teachers"))
    from asking import make_problems, scripted
    from scripted_engine import ScriptedEngine

    source = ProblemSet(**data["problems"])
    asked, name = make_problems(store, ["well? 0", "cut? 1", "empty? 2"]), source.verifier or ""
    (here / f"{name.partition(':')[0]}.py").write_text("def judge(responses, golds):\n    return [(True, 'own', '4') for _ in golds]\n")
    pool = teachers.run(store, "odd", scripted(random_student, here), asked, 0, rule(source), quiet, ScriptedEngine)
    rows = pool.read_table().to_pylist()
    assert [(row["verdict"], row["verdict_reason"]) for row in rows] == [("right", "own"), ("wrong", "truncated"), ("unknown", "empty")]
    (here / f"{name.partition(':')[0]}.py").write_text("def judge(responses, golds):\n    raise KeyError('ell')\n")
    with pytest.raises(VerifyError, match=f"{name}: KeyError: 'ell'"):
        teachers.run(store, "odder", scripted(random_student, here), asked, 0, rule(source), quiet, ScriptedEngine)


@pytest.mark.usefixtures("ray_cluster")
def test_a_verifier_that_fails_half_way_costs_no_answer_that_was_there(
    here: Path, data: dict[str, Any], store: Store, quiet: StageProgress, random_student: str
) -> None:
    sys.path.append(str(Path(__file__).parent / "teachers"))
    from asking import make_problems, scripted
    from scripted_engine import ScriptedEngine

    source = ProblemSet(**data["problems"])
    questions = [*(f"well? {number}" for number in range(30)), "wrong? 30"]
    asked, name = make_problems(store, questions), source.verifier or ""
    mended = "def judge(responses, golds):\n    return ['5' not in text for text in responses]\n"
    (here / f"{name.partition(':')[0]}.py").write_text(mended.replace("text for", "text or 1 / 0 for"))
    with pytest.raises(VerifyError, match="ZeroDivisionError"):
        teachers.run(store, "odd", scripted(random_student, here), asked, 0, rule(source), quiet, ScriptedEngine)
    before = Counter(line for log in here.glob("started-*") for line in log.read_text().splitlines())
    (here / f"{name.partition(':')[0]}.py").write_text(mended)
    pool = teachers.run(store, "odd", scripted(random_student, here), asked, 0, rule(source), quiet, ScriptedEngine)
    after = Counter(line for log in here.glob("started-*") for line in log.read_text().splitlines())
    assert (pool.outcome["num_traces"], pool.outcome["right"]) == (31, 30)
    assert pool.outcome["num_resumed"] > 10
    assert after.total() - before.total() == 31 - pool.outcome["num_resumed"]
    assert pool.read_table()["problem_id"].to_pylist() == [f"p{number}" for number in range(31)]


def test_a_changed_verifier_judges_anew_what_is_there_and_asks_nobody(here: Path, data: dict[str, Any], store: Store) -> None:
    first = pipeline.make_pools(recipe(data), store, Display(quiet=True))["old"]
    (path,) = here.glob("own_*.py")
    path.write_text(LETTERS.replace("words[0] == gold", "words[0] != gold"))  # holds every gold for wrong but the one it cannot read
    redone = dict(pipeline.judge_again(recipe(data), store, Display(quiet=True)))
    (second,) = [pool for pool in redone if pool.name == "old"]
    assert first.hash != second.hash
    assert verdicts(second) == [("p2", "unknown", None)], "a problem that is set aside now is left out"
    assert redone[second].num_traces == 1
    path.write_text(LETTERS)
    assert build_graph(recipe(data), store).asked["old"] == first, "the same source is the same verifier"


def test_without_a_verifier_then_with_one_the_answers_are_taken_over(data: dict[str, Any], store: Store) -> None:
    without = data | {"problems": {"source": "problems.jsonl"}}
    first = pipeline.make_pools(recipe(without), store, Display(quiet=True))["old"]
    assert Counter(verdict for _, verdict, _ in verdicts(first)) == {"unknown": 3}, "nothing is boxed"
    redone = dict(pipeline.judge_again(recipe(data), store, Display(quiet=True)))
    (second,) = [pool for pool in redone if pool.name == "old"]
    assert [verdict for _, verdict, _ in verdicts(second)] == ["right", "wrong", "unknown"]


def test_each_benchmark_has_its_own_judge_and_scores_are_named_by_it(here: Path, data: dict[str, Any], store: Store) -> None:
    graph = build_graph(recipe(data), store)
    exam = graph.exam
    asked = {
        "letters": [{"problem_id": "p1", "question": "?", "answer": "B", "subject": "", "level": 0}],
        "sums": [{"problem_id": "s1", "question": "?", "answer": "2", "subject": "", "level": 0}],
    }
    answers = {name: StudentAnswer(name, "It is B", "stop", 3, 0.1) for name in (Name("letters", "p1", 0), Name("sums", "s1", 0))}
    table = judge_scores(exam, asked, answers)
    assert list(zip(table["verdict"].to_pylist(), table["verdict_reason"].to_pylist(), strict=True)) == [
        ("right", "verifier"),
        ("unknown", "no_answer"),
    ]
    named = [arm.asked.hash for arm in graph.arms]
    (path,) = here.glob("own_*.py")
    path.write_text(LETTERS + "# another\n")
    assert all(arm.asked.hash not in named for arm in build_graph(recipe(data), store).arms)
    plain = replace(exam, rule=evaluation.Rule(exam.rule.verify, exam.rule.policy))
    assert plain.settings()["judged_by"] == {"policy": exam.rule.policy}


def test_the_command_line_takes_one_too(here: Path, data: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    name = data["problems"]["verifier"]
    lines(here / "said.jsonl", [{"response": "It is A.", "answer": "A"}, {"response": "It is B.", "answer": "A"}])
    assert called("verify", "said.jsonl", "--out", "judged.jsonl", "--verifier", name) == 0
    assert capfd.readouterr().out == "1 right, 1 wrong, 0 unknown -> judged.jsonl\n"
    importing = ("pool", "import", "old.jsonl", "--name", "old", "--problems", "problems.jsonl", "--column", "problem_id=id")
    assert called(*importing, "--verifier", name) == 0
    assert (here / capfd.readouterr().out.strip() / "manifest.json").is_file()
    assert called("verify", "said.jsonl", "--out", "judged.jsonl", "--verifier", "os:system") == RecipeError.exit_code
    assert called(*importing, "--verifier", "nobody_has_this:judge") == RecipeError.exit_code


def order(data: dict[str, Any], shared_paths: bool = False) -> Order:
    return Order("run", recipe(data), data, "s3://bucket/runs", shared_paths=shared_paths)


def test_a_module_of_the_present_folder_travels_with_the_recipe(
    here: Path, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    sent = order(data)
    (path,) = here.glob("own_*.py")
    assert path.name in [str(file) for file in sent.files]
    package = here / "own_travelling_package"
    package.mkdir()
    for name in ("__init__", "checks", "units"):
        (package / f"{name}.py").write_text("")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "checks.pyc").write_text("")
    data["problems"] = data["problems"] | {"verifier": "own_travelling_package.checks:judge"}
    folder = tmp_path_factory.mktemp("sent")
    whole = order(data)
    pack(folder, whole.data, whole.files)
    assert sorted(item.name for item in folder.glob("own_travelling_package/*")) == ["__init__.py", "checks.py", "units.py"]
    assert (folder / path.name).read_text() == LETTERS, "the benchmark's"
    before = whole.name
    (package / "units.py").write_text("METRE = 1\n")
    assert order(data).name != before


def test_a_module_of_this_machine_alone_is_refused_and_one_of_the_nodes_is_not(
    here: Path, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "own_elsewhere.py").write_text(LETTERS)
    monkeypatch.syspath_prepend(str(elsewhere))
    data["problems"] = data["problems"] | {"verifier": "own_elsewhere:judge"}
    with pytest.raises(RecipeError, match="module of this machine alone"):
        order(data)
    assert "own_elsewhere.py" not in map(str, order(data, shared_paths=True).files)
    for name in ("numpy.testing:judge", "own_of_the_nodes:judge"):
        data["problems"] = data["problems"] | {"verifier": name}
        assert len(order(data).files) == 3, "problems, traces, the benchmark's module"
