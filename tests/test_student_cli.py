"""`mixray student` as a user calls it: what is printed, what is merged, what the hub is sent, one message for every failure."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from command_line import called
from hub import Hub
from made_up_mixtures import make_mixture, make_pools
from made_up_students import make_student, steps
from transformers import AutoModelForCausalLM

from mixray.models import resolve
from mixray.rows import SCORE
from mixray.store import Artefact, Store

Capture = pytest.CaptureFixture[str]


def make_scores(store: Store, student: Artefact, num_right: int) -> Artefact:
    """Twenty questions, of which the first are answered right."""
    rows = [
        dict.fromkeys(SCORE.names) | {
            "problem_id": f"p{number}", "benchmark": "sums", "sample": 0, "seed": 0, "finish_reason": "length" if number == 19 else "stop",
            "num_response_tokens": 5, "verdict": "right" if number < num_right else "wrong",
        }
        for number in range(20)
    ]  # fmt: skip
    scores = store.artefact("scores", student.name, {"temperature": 0}, {"student": student})
    with scores.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(rows, schema=SCORE))
        staging.outcome = {"benchmarks": {"sums": {"accuracy": num_right / 20}}}
    return scores


class Storage:
    """A storage with a hard student that was asked, an easy one, and one of an earlier version."""

    def __init__(self, folder: Path, model: str) -> None:
        self.url, self.model = str(folder / "runs"), model
        self.store = Store(self.url)
        self.mixture = make_mixture(self.store, "half", make_pools(self.store), range(4))
        self.hard = make_student(self.store, "arm-long-s0", self.mixture, model, 1)
        self.easy = make_student(self.store, "arm-short-s1", self.mixture, model, 2, seed=1)
        self.older = make_student(self.store, "arm-old-s2", self.mixture, model, 3, seed=2, older=True)
        self.scores = make_scores(self.store, self.hard, 15)

    def student(self, *arguments: str) -> int:
        return called("student", *arguments, "--storage", self.url)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, random_student: str) -> Storage:
    """Merges may be added to it."""
    return Storage(tmp_path_factory.mktemp("cli"), random_student)


def listed(made: Storage, capsys: Capture) -> dict[str, dict[str, Any]]:
    assert made.student("ls", "--json") == 0
    return {row["student"]: row for row in json.loads(capsys.readouterr().out)}


def test_ls_tells_every_student_of_every_version(made: Storage, capsys: Capture) -> None:
    rows = listed(made, capsys)
    hard, older = rows[made.hard.folder], rows[made.older.folder]
    assert hard == {
        "student": made.hard.folder, "base_model": made.model, "taught": "half", "seed": 0, "num_steps": 3, "first_loss": 3.5,
        "last_loss": 1.125, "tokens_trained": 3 * 288,
        "scores": [{"scores": made.scores.label, "benchmarks": {"sums": {"accuracy": 0.75}}}],
    }  # fmt: skip
    assert (older["base_model"], older["tokens_trained"], older["scores"]) == (None, 2 * 432, [])
    assert made.student("ls") == 0
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if made.hard.folder in line)
    assert re.search(r"half +0 +3 +3\.50 -> 1\.125 +864 +sums 75\.0%$", line.rstrip())


def test_ls_of_an_empty_storage_says_what_makes_some(tmp_path: Path, capsys: Capture) -> None:
    assert called("student", "ls", "--storage", str(tmp_path / "none")) == 0
    assert "holds no student; `mixray run RECIPE` trains some" in capsys.readouterr().out


def test_show_tells_settings_figures_files_and_intervals(made: Storage, capsys: Capture) -> None:
    assert made.student("show", made.hard.hash) == 0
    told = capsys.readouterr().out
    for expected in (f"students/{made.hard.folder}", "train.learning_rate", "num_loss_tokens", "model.safetensors", "padding_share"):
        assert expected in told
    assert re.search(r"sums +75\.0% +\[53\.1%, 88\.8%\] +20 +20 +1\b", told)
    assert made.student("show", "arm-long-s0", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["made_by"] == json.loads(json.dumps(made.hard.made_by))
    assert (found["first_step"], found["last_step"]) == ([steps()[0]], [steps()[-1]])
    assert found["scores"][0]["benchmarks"]["sums"]["low"] == pytest.approx(0.5313, abs=1e-3)
    assert {"path", "bytes", "sha256"} == set(found["files"][0])


def test_an_older_student_is_shown_with_its_curve(made: Storage, capsys: Capture) -> None:
    assert made.student("show", "arm-old-s2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["last_step"] == [{"step": 3, "loss": 1.125, "grad_norm": 1.0}]


def test_merge_makes_a_student_that_is_listed_shown_and_found_again(made: Storage, capfd: Capture) -> None:
    arguments = ("merge", "arm-long-s0", "arm-short-s1", "--alpha", "0.3", "--method", "ties", "--density", "0.4", "--name", "soup")
    assert made.student(*arguments) == 0
    place = capfd.readouterr().out.strip()
    AutoModelForCausalLM.from_pretrained(place)
    assert made.student(*arguments) == 0
    assert capfd.readouterr().out.strip() == place
    row = listed(made, capfd)[Path(place).name]
    assert row["taught"] == "ties merge, 0.3 of arm-long-s0 over arm-short-s1"
    assert (row["base_model"], row["tokens_trained"], row["first_loss"]) == (made.model, None, None)
    assert made.student("show", "soup") == 0
    told = capfd.readouterr().out
    assert "merge.density" in told
    assert made.student("merge", "soup", "arm-short-s1", "--alpha", "0.5") == 0  # a merge is a student like any other
    assert "/students/linear-0.5-" in capfd.readouterr().out


def test_a_student_that_does_not_tell_its_base_is_merged_over_one_that_is_named(made: Storage, capfd: Capture) -> None:
    assert made.student("merge", "arm-long-s0", "arm-old-s2") == 1
    assert f"A student does not tell what it was trained from; seen: {made.older.label}" in capfd.readouterr().err
    assert made.student("merge", "arm-long-s0", "arm-old-s2", "--base", made.model, "--name", "named") == 0
    assert made.student("merge", "arm-long-s0", "arm-short-s1", "--base", "tiny:student-s") == 1
    assert "A student was not trained from the base it is to be merged over" in capfd.readouterr().err


def test_one_question_is_answered_on_standard_output_alone(made: Storage) -> None:
    """In a process of its own: what libraries print goes to the log, not to the terminal."""
    make_student(made.store, "arm-tiny-s0", made.mixture, resolve("tiny:student-s"), size=0)
    done = subprocess.run(
        [sys.executable, "-m", "mixray.cli", "student", "chat", "arm-tiny-s0", "--storage", made.url,
         "--prompt", "What is 2 + 3?", "--max-tokens", "6", "--temperature", "0", "--device", "cpu"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "(cut off after 6 tokens)\n")
    assert done.stdout.strip()
    assert done.stdout.endswith("\n")


def test_the_seed_decides_what_is_drawn(made: Storage, capfd: Capture) -> None:
    drawn = []
    for seed in ("1", "1", "2"):
        arguments = ("chat", "arm-long-s0", "--prompt", "What is 2 + 3?", "--max-tokens", "8", "--temperature", "5", "--seed", seed)
        assert made.student(*arguments) == 0
        drawn.append(capfd.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_conversation_goes_on_until_its_input_ends(made: Storage, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"One?\n\nTwo?\n/new\n{'long ' * 600}\nThree?"))
    assert made.student("chat", "arm-long-s0", "--max-tokens", "4", "--temperature", "0") == 0
    said = capfd.readouterr()
    assert said.out.count("\n") >= 3
    assert "arm-long-s0. /new begins another conversation" in said.err
    assert "A conversation leaves no room for an answer" in said.err


class Interrupted(io.StringIO):
    def readline(self, size: int | None = -1, /) -> str:
        raise KeyboardInterrupt


def test_ctrl_c_ends_a_conversation_and_is_no_failure(made: Storage, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert made.student("chat", "arm-long-s0") == 0
    assert "Traceback" not in capfd.readouterr().err


def test_a_terminal_sees_the_answer_come_and_ctrl_c_ends_it(made: Storage) -> None:
    """On a real terminal: a question, an answer, Ctrl-C while the next one comes."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mixray.cli", "student", "chat", "arm-long-s0", "--storage", made.url, "--max-tokens", "400"]
    with subprocess.Popen([*command, "--temperature", "2"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as talk:
        os.close(theirs)
        shown = read_until(ours, b"> ")
        os.write(ours, b"What is 2 + 3?\n")
        shown += read_until(ours, b"> ")
        os.write(ours, b"And 3 + 4?\n")
        read_until(ours, b"\n")
        talk.send_signal(signal.SIGINT)
        assert talk.wait(timeout=300) == 0
    os.close(ours)
    assert b"Traceback" not in shown
    assert b"Loading" not in shown


def read_until(terminal: int, end: bytes) -> bytes:
    shown = b""
    while end not in shown[-200:]:
        shown += os.read(terminal, 1024)
    return shown


def front_matter(data: bytes) -> dict[str, Any]:
    return dict(yaml.safe_load(data.decode().split("---")[1]))


def test_push_sends_the_folder_and_a_card_that_tells_the_scores(made: Storage, hub: Hub, tmp_path: Path, capfd: Capture) -> None:
    assert made.student("push", "arm-long-s0", "me/half", "--license", "mit") == 0
    assert capfd.readouterr().out == f"{hub.url}/me/half/commit/main\n"
    assert (hub.kind, hub.private) == ("model", False)
    assert {"README.md", "config.json", "model.safetensors", "training.jsonl", "adapter/adapter_config.json"} <= set(hub.files)
    assert not [path for path in hub.files if "manifest" in path or "tensorboard" in path]
    card = hub.files["README.md"].decode()
    assert "| sums | 75.0 % | [53.1, 88.8] | 20 |" in card
    assert "| long | 4 (50.0%) | 160 (74.1%) | 120 (88.2%) |" in card
    assert 'from_pretrained("me/half")' in card
    assert json.loads(hub.files["adapter/adapter_config.json"]) == {"r": 8, "base_model_name_or_path": None}
    assert not [path for path, data in hub.files.items() if os.path.dirname(made.model).encode() in data]
    told = front_matter(hub.files["README.md"])
    assert (told["library_name"], told["license"]) == ("transformers", "mit")
    assert "base_model" not in told  # a folder of this machine is nothing the hub knows
    for path, data in hub.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_second_push_leaves_no_shard_of_the_first(made: Storage, hub: Hub) -> None:
    hub.private = True
    hub.files = {"model-00001-of-00002.safetensors": b"old", "model.safetensors.index.json": b"old", "notes.txt": b"mine"}
    assert made.student("push", "arm-old-s2", "me/half", "--private") == 0
    assert {"notes.txt", "model.safetensors", "training_curve.json"} <= set(hub.files)
    assert not {"model-00001-of-00002.safetensors", "model.safetensors.index.json"} & set(hub.files)
    assert front_matter(hub.files["README.md"])["license"] == "unknown"


def test_a_private_push_refuses_a_public_repository(made: Storage, hub: Hub, capfd: Capture) -> None:
    hub.private = False
    assert made.student("push", "arm-long-s0", "me/half", "--private") == 1
    assert "The repository is public; seen: me/half" in capfd.readouterr().err
    assert hub.files == {}


def test_a_token_is_needed_and_never_shown(made: Storage, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert made.student("push", "arm-long-s0", "me/half") == 1
    told = capfd.readouterr().err
    assert "The hub did not take the student; seen: me/half" in told
    assert "hf_wrong" not in told
    assert not [path for path in Path(made.url, "logs").glob("push-*") if "hf_wrong" in path.read_text()]
    monkeypatch.delenv("HF_TOKEN")
    assert made.student("push", "arm-long-s0", "me/half") == 1
    assert "Nothing can be pushed without a token" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["show", "arm-lnog-s0"], 1, "did you mean 'arm-long-s0'?"),
        (["chat", "nobody"], 1, "There is no such student; seen: nobody"),
        (["chat", "arm-long-s0", "--prompt", "x", "--device", "nowhere"], 1, "A student cannot be loaded"),
        (["push", "arm-long-s0", "half"], 2, "A repository's name is wrong; seen: half; rule: OWNER/NAME"),
        (["push", "arm-long-s0", "me/half", "--license", "M I T"], 1, "A license is wrong; seen: M I T"),
        (["merge", "arm-long-s0"], 2, "see `mixray student merge --help`"),
        (["merge", "arm-long-s0", "arm-long-s0"], 1, "A student is to be merged with itself"),
        (["merge", "arm-long-s0", "arm-short-s1", "--alpha", "1.5"], 2, "see `mixray student merge --help`"),
        (["merge", "arm-long-s0", "arm-short-s1", "--density", "0.5"], 2, "density belongs to ties and dare"),
        (["merge", "arm-long-s0", "arm-short-s1", "--method", "dare", "--density", "0"], 2, "An option is wrong: density"),
        (["merge", "arm-long-s0", "arm-short-s1", "--name", "../soup"], 2, "An option is wrong: name; seen: ../soup"),
    ],
)
def test_every_failure_is_told_with_its_exit_code(
    arguments: list[str], code: int, told: str, made: Storage, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert made.student(*arguments) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert told in said.err
    assert hub.files == {}
    assert os.listdir(tmp_path) == []


def test_student_alone_shows_its_commands(capsys: Capture) -> None:
    assert called("student") == 2
    told = capsys.readouterr().err
    assert all(command in told for command in ("ls", "show", "chat", "push", "merge"))
