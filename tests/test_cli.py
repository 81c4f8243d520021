"""The command line: one message for every failure, the right exit code, nothing started for a bad recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import called

SMALL = """
name: small
problems: {source: tiny, num_problems: 8}
teachers: {long: {model: MODEL}, short: {model: MODEL}}
mixtures: {mix: {hard: long, easy: short}}
students: {student-s: {model: MODEL}}
evaluate: {benchmarks: {tiny: {source: tiny, split: test, num_problems: 8}}}
"""


@pytest.fixture
def recipe(tmp_path: Path, random_student: str) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("MODEL", random_student))
    return str(path)


@pytest.mark.parametrize("command", ["run", "sweep", "plan", "status", "serve"])
def test_a_bad_recipe_ends_with_2_before_anything_starts(
    command: str, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "runs"
    assert called(command, recipe, "--storage", str(storage), "--set", "train.epoch=3") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "did you mean 'epochs'?" in told
    assert not storage.exists()


def test_an_error_that_quotes_a_file_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("plan", "\x1b[2J\u202eyaml.yaml") != 0
    told = capsys.readouterr().err
    assert "yaml.yaml" in told
    assert not set(told) & {"\x1b", "\u202e"}


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("run") == 2
    assert "see `mixray run --help`" in capsys.readouterr().err
    assert called("rnu", "tiny") == 2


def test_a_missing_model_is_told_in_one_message(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("run", recipe, "--storage", str(tmp_path / "runs"), "--set", "teachers.long.model=/no/where") == 1
    told = capsys.readouterr().err
    assert "A model is missing" in told
    assert "/no/where" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("content", ["model.py", "weights.bin", "auto_map"])
def test_a_model_folder_with_code_or_pickles_is_refused(
    content: str, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auto_map": {}} if content == "auto_map" else {}))
    (folder / content).write_text("print('ran')")
    assert called("plan", recipe, "--storage", str(tmp_path / "runs"), "--set", f"students.student-s.model={folder}") == 1
    assert "holds code or pickles" in capsys.readouterr().err


def test_plan_and_status_say_what_is_missing_as_json(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [recipe, "--storage", str(tmp_path / "runs"), "--json"]
    assert called("plan", *arguments) == 0
    planned = json.loads(capsys.readouterr().out)
    assert called("status", *arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["artefact"] for row in planned["artefacts"]] == [row["artefact"] for row in told["artefacts"]]
    assert {row["state"] for row in told["artefacts"]} == {"missing"}
    assert planned["needs"]["teacher answers"] == 16
    assert planned["needs"]["arms"] == 4
    assert not (tmp_path / "runs").exists()


def test_plan_counts_what_is_left_and_says_what_nobody_can_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    (tmp_path / "own.yaml").write_text(
        f"""
name: own
problems: {{source: {tmp_path}/own.jsonl}}
teachers: {{long: {{model: "tiny:long", num_gpus: 1, replicas: [1, 2]}}, short: {{model: "tiny:short"}}}}
mixtures: {{mix: {{hard: long, easy: short, alpha: 0.2}}}}
students: {{student-s: {{model: "tiny:student-s"}}}}
evaluate:
  benchmarks: {{own: {{source: {tmp_path}/own.jsonl}}, tiny: {{source: tiny, split: test, num_problems: 8}}}}
  judge: {{teacher: {{model: "tiny:small", num_gpus: 2, replicas: [1, 4]}}}}
"""
    )
    assert called("plan", str(tmp_path / "own.yaml"), "--storage", str(tmp_path / "runs")) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert "0 teacher answers, 2 arms, 16 student answers, the answers to the training problems and own, as many as there are" in told
    assert told.endswith("8 GPUs at once"), "the judge's"


def test_only_a_blend_of_two_pools_is_swept(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--blend", "other"], ["--set", "mixtures={mix: {pools: {long: 0.2, short: 0.8}}}"]):
        assert called("sweep", recipe, "--storage", str(tmp_path), *arguments) == 2
        assert "There is nothing to sweep" in capsys.readouterr().err
    assert called("sweep", recipe, "--alpha", "0,2", "--storage", str(tmp_path)) == 2
    assert "less than or equal to 1" in capsys.readouterr().err


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Recipe"


def test_verify_judges_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"response": "so \\boxed{27.0}", "answer": "27"}, {"response": "no box but 27", "answer": "27"}]
    asked, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    asked.write_text("\n".join(map(json.dumps, rows)))
    assert called("verify", str(asked), "--out", str(out)) == 0
    judged = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["verdict"] for row in judged] == ["right", "unknown"]
    assert called("verify", str(asked), "--out", str(out), "--unboxed") == 0
    assert [json.loads(line)["verdict"] for line in out.read_text().splitlines()] == ["right", "right"]


STRUCK_IN_AN_IMPORT = """
import os, signal

class Field:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1_000_000):  # Python looks for signals as it loops
            pass

class Settings:
    field = Field()
"""


def test_an_interrupt_that_strikes_in_an_import_is_told_as_one(tmp_path: Path) -> None:
    """Python 3.11 makes a RuntimeError of it while a class is defined, as Ray Data does for 2 s when the first stage begins."""
    (tmp_path / "struck.py").write_text(STRUCK_IN_AN_IMPORT)
    (tmp_path / "rows.jsonl").write_text('{"response": "4", "answer": "4"}\n')
    command = [sys.executable, "-m", "mixray.cli", "verify", "rows.jsonl", "--out", "judged.jsonl", "--verifier", "struck:judge"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.strip()) == (130, "mixray: interrupted; the same command goes on from here")


def test_a_failure_that_nobody_reads_has_its_exit_code_all_the_same(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mixray.cli", "plan", str(tmp_path / "none.yaml")]
    assert subprocess.run(command, stderr=write, timeout=120).returncode == 2
    os.close(write)


def test_importing_the_command_line_is_light() -> None:
    heavy = "import sys, mixray.cli; print([name for name in ('ray', 'torch', 'vllm', 'transformers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.strip() == "[]"
