"""A user's own verifier: what it is shown, what it may answer, and that no fault of it becomes a verdict."""

from __future__ import annotations

import pickle
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mixray.errors import RecipeError, VerifyError
from mixray.functions import UserFunction
from mixray.recipe import ProblemSet
from mixray.verify import OwnVerifier, Verdict, verify

numbers = count()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a user works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def written(folder: Path, body: str) -> OwnVerifier:
    """Return a verifier whose function has this body; each is in a module of its own."""
    module = f"own_verifier_{next(numbers)}"
    head = "from mixray.verify import Verdict\nseen = []\n\n\ndef judge(responses, golds):\n    seen.extend(zip(responses, golds))\n"
    (folder / f"{module}.py").write_text(head + "".join(f"    {line}\n" for line in body.splitlines()))
    return OwnVerifier.named(f"{module}:judge")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("True", Verdict("right", "verifier", "5 m")),
        ("False", Verdict("wrong", "verifier", "5 m")),
        ("1.0", Verdict("right", "verifier", "5 m")),
        ("None", Verdict("unknown", "verifier", "5 m")),
        ("('wrong', 'no unit', '5')", Verdict("wrong", "no unit", "5")),
        ("(True, 'converted', None)", Verdict("right", "converted", "5 m")),
        ("Verdict('unknown', 'unit?', None)", Verdict("unknown", "unit?", "5 m")),
        ("(False, 'half \\ud800', None)", Verdict("wrong", "half \ufffd", "5 m")),
    ],
)
def test_what_a_verifier_may_say_of_a_response(folder: Path, said: str, expected: Verdict) -> None:
    assert written(folder, f"return [{said} for _ in golds]")(["So \\boxed{5 m}"], ["500 cm"]) == [expected]


def test_a_verdict_without_an_answer_has_the_box_or_the_last_line_and_a_doubt_has_none_made_up(folder: Path) -> None:
    judge = written(folder, "return [None if 'hm' in text else text.strip().endswith(gold) for text, gold in zip(responses, golds)]")
    verdicts = judge(["<think>A</think>\nI looked.\nAnswer: B\n", "Answer: C", "hm"], ["B", "B", "B"])
    assert [(verdict.verdict, verdict.answer) for verdict in verdicts] == [
        ("right", "Answer: B"),
        ("wrong", "Answer: C"),
        ("unknown", None),
    ]


def test_what_was_cut_off_or_is_empty_is_never_shown_to_it_and_never_right(folder: Path) -> None:
    judge = written(folder, "return [True for _ in golds]")
    rows = [
        ("\\boxed{4} but", "4", "length", ("wrong", "truncated")),
        ("\\boxed{4}", "4", "error", ("unknown", "error")),
        (" ", "4", "stop", ("unknown", "empty")),
        (None, "4", None, ("unknown", "empty")),
        ("\\boxed{4}", "", "stop", ("unknown", "no_gold")),
        ("<think>\\boxed{4}", "4", "stop", ("unknown", "no_answer")),
        ("<think>5?</think> four", "4", "stop", ("right", "verifier")),
    ]
    responses, golds, reasons, expected = zip(*rows, strict=True)
    assert [(verdict.verdict, verdict.verdict_reason) for verdict in judge(responses, golds, reasons)] == list(expected)
    assert sys.modules[judge.function.name.partition(":")[0]].seen == [(" four", "4")]
    assert [verdict.verdict_reason for verdict in verify(responses[:5], golds[:5], reasons[:5])] == [reason for *_, (_, reason) in rows[:5]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no such unit: ell')", "ValueError: no such unit: ell"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("return [True]", "1 for 2 responses"),
        ("return [True] * 3", "3 for 2 responses"),
        ("return None", "gives no list; seen: .*: None"),
        ("return 'ab'", "gives no list"),
        ("return {'a': 1, 'b': 2}", "gives no list"),
        ("return [True, 0.5]", "no verdict; seen: .*: 0.5"),
        ("return [True, 'yes']", "no verdict; seen: .*: 'yes'"),
        ("return [True, ('right', '', None)]", "no verdict"),
        ("return [True, ('right', 'told', 4)]", "no verdict"),
        ("return [True, ['right', 'told', '4']]", "no verdict"),
    ],
)
def test_a_fault_is_told_with_the_functions_name_and_is_no_verdict(folder: Path, body: str, told: str) -> None:
    judge = written(folder, body)
    with pytest.raises(VerifyError, match=told) as raised:
        judge(["a", "b"], ["a", "b"])
    assert judge.function.name in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize(
    "name", ["checks", "checks.judge", "a-b:c", "a:b.c", "a:b()", "a..b:c", ":c", "a:", "a:b\n", "os:system", "pty:spawn"]
)
def test_a_name_that_is_no_import_path_of_the_users_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        ProblemSet(source="mine.jsonl", verifier=name)


def test_finding_a_verifier_runs_nothing_of_it_nor_of_its_package(folder: Path) -> None:
    (folder / "own_package").mkdir()
    for name in ("__init__", "checks"):
        (folder / "own_package" / f"{name}.py").write_text("raise SystemExit('it ran')\n")
    found = UserFunction.named("own_package.checks:judge")
    assert found.folder == str(folder)
    with pytest.raises(RecipeError, match=r"cannot be imported; seen: own_package\.checks:judge: SystemExit: it ran"):
        found.load()


def test_a_module_that_changes_is_another_verifier_and_one_that_changed_meanwhile_is_refused(folder: Path) -> None:
    first = written(folder, "return [True for _ in golds]")
    module = folder / f"{first.function.name.partition(':')[0]}.py"
    assert first(["a"], ["b"])[0].verdict == "right"
    module.write_text(module.read_text().replace("True for", "False for"))
    second = OwnVerifier.named(first.function.name)
    assert first.identity() != second.identity()
    assert second(["a"], ["b"])[0].verdict == "wrong"
    with pytest.raises(RecipeError, match="not the one that the run began with"):
        first(["a"], ["b"])
    module.unlink()
    for missing in (second.function.load, lambda: OwnVerifier.named(second.function.name)):
        with pytest.raises(RecipeError, match="is not here"):
            missing()


def test_a_module_without_the_function_is_told(folder: Path) -> None:
    judge = written(folder, "return []")
    with pytest.raises(RecipeError, match="lacks the function"):
        UserFunction.named(judge.function.name.replace(":judge", ":judges")).load()


def test_a_recipe_without_one_is_written_as_before_there_were_any() -> None:
    told: dict[str, Any] = ProblemSet(source="mine.jsonl").model_dump()
    assert "verifier" not in told
    assert ProblemSet(source="mine.jsonl", verifier="checks:judge").model_dump(mode="json") == told | {"verifier": "checks:judge"} | {
        key: list(value) for key, value in told.items() if isinstance(value, tuple)
    }
