"""`mixray pool`, `audit` and `verify --redo` as a user calls them: what is printed, what is written, one message for every failure."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import called

TEXTS = [r"\boxed{4}", r"\boxed{5}", "I do not know", "no box but 4"]


class Storage:
    """A storage with one imported pool, `old`, of four problems; and the files it came from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, str(folder / "runs")
        self.problems, self.traces = folder / "problems.jsonl", folder / "traces.jsonl"
        asked = [{"question": f"2 + 2, for the {n}. time?", "answer": "4", "subject": "sums [even]", "level": n % 2 + 1} for n in range(4)]
        said = [{"ask": row["question"], "turns": ["?", text]} for row, text in zip(asked, TEXTS, strict=True)]
        self.problems.write_text("".join(json.dumps(row) + "\n" for row in asked))
        self.traces.write_text("".join(json.dumps(row) + "\n" for row in [*said, {"ask": "who?", "turns": ["me"]}]))

    def importing(self, *more: str, name: str = "old") -> int:
        return called(
            "pool", "import", str(self.traces), "--name", name, "--problems", str(self.problems), "--storage", self.url,
            "--column", "question=ask", "--column", "response=turns[-1]", *more,
        )  # fmt: skip

    def pool(self, *arguments: str) -> int:
        return called("pool", *arguments, "--storage", self.url)

    def recipe(self, **teacher: Any) -> str:
        imported = {"traces": str(self.traces), "columns": {"question": "ask", "response": "turns[-1]"}} | teacher
        recipe = {
            "name": "small",
            "problems": {"source": str(self.problems)},
            "teachers": {"old": imported, "new": imported},
            "mixtures": {"mix": {"hard": "old", "easy": "new"}},
            "students": {"student": {"model": "tiny:student-s"}},
            "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "num_problems": 2}}, "max_tokens": 9},
        }
        path = self.folder / "small.yaml"
        path.write_text(json.dumps(recipe))
        return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Read only."""
    storage = Storage(tmp_path_factory.mktemp("cli"))
    assert storage.importing() == 0
    return storage


@pytest.fixture
def fresh(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


Capture = pytest.CaptureFixture[str]


def folder_of(storage: Storage) -> str:
    (path,) = Path(storage.url, "pools").iterdir()
    return path.name


def test_an_import_tells_what_came_of_it_and_answers_with_the_pools_place(fresh: Storage, capfd: Capture) -> None:
    assert fresh.importing() == 0
    told = capfd.readouterr()
    assert told.out.splitlines() == [f"{fresh.url}/pools/{folder_of(fresh)}"]
    assert "4 problems, 0 set aside" in told.err
    assert "4 traces of 4 problems; 25.0% right, 25.0% wrong, 50.0% unknown; 1 row set aside (1 unknown_problem)" in told.err
    assert fresh.importing() == 0
    assert capfd.readouterr().out == told.out, "it is found, not made"


def test_ls_lists_pools_with_their_figures(made: Storage, capsys: Capture) -> None:
    assert made.pool("ls") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["pool", "problems", "traces", "right", "wrong", "unknown", "accepted"], "what no pool has is no column"
    assert row.split() == [folder_of(made), "4", "4", "1", "1", "2", "1"]
    assert made.pool("ls", "--json") == 0
    (pool,) = json.loads(capsys.readouterr().out)
    assert (pool["pool"], pool["num_traces"], pool["set_aside"]) == (folder_of(made), 4, {"unknown_problem": 1})


def test_an_empty_storage_says_how_to_fill_it(tmp_path: Path, capsys: Capture) -> None:
    assert called("pool", "ls", "--storage", str(tmp_path / "none")) == 0
    told = capsys.readouterr().out
    assert "holds no pool" in told
    assert "`mixray pool make RECIPE`" in told
    assert called("pool", "ls", "--storage", str(tmp_path / "none"), "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_show_tells_pass_rates_by_subject_and_level(made: Storage, capsys: Capture) -> None:
    assert made.pool("show", "old") == 0
    told = capsys.readouterr().out
    assert f"pools/{folder_of(made)}" in told
    assert "statuses: 4 ok" in told
    assert "reasons:  1 different_number, 2 no_answer, 1 same" in told
    assert re.search(r"quarantine\.jsonl$", told, re.MULTILINE)
    rows = [line.split() for line in told.splitlines() if line.startswith("sums [even]")]
    assert rows == [
        ["sums", "[even]", "1", "2", "50.0%", "50.0%", "1", "100.0%"],
        ["sums", "[even]", "2", "2", "50.0%", "0.0%", "0", "0.0%"],
    ]
    assert made.pool("show", "old", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["outcome"]["right"], shown["made_by"]["settings"]["teacher"]) == (1, "old")


def test_one_trace_is_shown_whole(made: Storage, capsys: Capture) -> None:
    assert made.pool("sample", "old", "--verdict", "wrong", "--json") == 0
    (trace,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert made.pool("show", "old", trace["trace_id"]) == 0
    told = capsys.readouterr().out
    assert r"\boxed{5}" in told
    assert "wrong (different_number): answer 5, gold 4" in told
    assert "ok, repetition 0.00, imported" in told
    assert "None" not in told


def test_samples_are_drawn_alike_and_filtered(made: Storage, capsys: Capture) -> None:
    def drawn(*arguments: str) -> list[dict[str, Any]]:
        assert made.pool("sample", "old", "--json", *arguments) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert drawn("-n", "3") == drawn("-n", "4")[:3]
    assert {trace["verdict"] for trace in drawn("--verdict", "unknown", "-n", "9")} == {"unknown"}
    assert drawn("--status", "looping") == []
    assert made.pool("sample", "old", "--status", "looping") == 0
    assert capsys.readouterr().out == "no trace of this kind\n"


def test_nothing_a_model_wrote_acts_on_the_terminal(fresh: Storage, capsys: Capture) -> None:
    question = json.loads(fresh.problems.read_text().splitlines()[0])["question"]
    evil = "[bold]no markup[/bold] \x1b]0;owned\x07 \x1b[2J \u202e backwards \\boxed{\x9b31m}"
    fresh.traces.write_text(json.dumps({"ask": question, "turns": [evil]}) + "\n")
    assert fresh.importing() == 0
    for arguments in (["sample", "old"], ["show", "old"]):
        assert fresh.pool(*arguments) == 0
    assert called("audit", "old", "--storage", fresh.url, "--first", "exact", "--second", "stored") == 0
    told = capsys.readouterr().out
    assert not set(told) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert r"[bold]no markup[/bold] \x1b]0;owned\x07" in told


@pytest.mark.parametrize("form", ["parquet", "jsonl", "datasets"])
def test_export_writes_what_was_asked_for(form: str, made: Storage, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert made.pool("export", "old", str(out), "--format", form, "--accepted") == 0
    assert capsys.readouterr().out == f"1 trace -> {out}\n"
    assert out.is_dir() == (form == "datasets")
    if form == "parquet":
        assert pq.read_table(out)["verdict"].to_pylist() == ["right"]
    assert made.pool("export", "old", str(out), "--format", form) == 1
    assert "nothing is written over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["pool", "show", "odl"], 1, "did you mean 'old'?"),
        (["pool", "show", "old", "p/q/0"], 1, "There is no such trace; seen: p/q/0"),
        (["pool", "sample", "old", "--verdict", "rigth"], 2, "Invalid value for '--verdict'"),
        (["pool", "sample", "old", "-n", "0"], 2, "see `mixray pool sample --help`"),
        (["pool", "export", "old"], 2, "see `mixray pool export --help`"),
        (["pool", "export", "old", "x", "--format", "csv"], 2, "'csv' is not one of 'parquet', 'jsonl', 'datasets'"),
        (["audit", "old", "--first", "gut"], 1, "There is no such way of judging; seen: gut"),
        (["audit", "odl"], 1, "did you mean 'old'?"),
        (["pool", "nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_every_failure_is_one_line_with_its_exit_code(arguments: list[str], code: int, told: str, made: Storage, capsys: Capture) -> None:
    assert called(*arguments, *([] if "nonsense" in arguments else ["--storage", made.url])) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("mixray: ")
    assert told in said.err


@pytest.mark.parametrize(
    ("more", "name", "code", "told"),
    [
        (["--column", "respons=x"], "old", 2, "did you mean 'response'?"),
        (["--column", "response"], "old", 2, "KEY=PATH"),
        (["--column", "response=a..b"], "old", 2, "A field's path cannot be read; seen: a..b"),
        (["--format", "gsm9k"], "old", 2, "gsm9k"),
        ([], "../../old", 2, "A teacher's name is wrong; seen: ../../old"),
        ([], "GPT 4", 2, "A teacher's name is wrong; seen: GPT 4"),
        (["--column", "question=answer"], "old", 1, "No trace fits a problem"),
    ],
)
def test_a_wrong_import_says_what_is_wrong_and_leaves_no_pool(
    more: list[str], name: str, code: int, told: str, fresh: Storage, capfd: Capture
) -> None:
    assert fresh.importing(*more, name=name) == code
    said = capfd.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not Path(fresh.url, "pools").exists()
    assert sorted(path.name for path in fresh.folder.iterdir()) in (
        ["problems.jsonl", "traces.jsonl"],
        ["problems.jsonl", "runs", "traces.jsonl"],
    )


def test_pool_alone_shows_its_commands(capsys: Capture) -> None:
    assert called("pool") == 2
    told = capsys.readouterr().err
    assert told.startswith("Usage: mixray pool")
    assert all(command in told for command in ("make", "ls", "show", "sample", "export", "import"))


def test_an_audit_lists_where_two_ways_of_judging_disagree(fresh: Storage, capsys: Capture) -> None:
    assert fresh.importing("--unboxed") == 0
    capsys.readouterr()
    assert called("audit", "old", "--storage", fresh.url, "--first", "stored", "--second", "mixray") == 0
    assert capsys.readouterr().out == "stored and mixray disagree on 0 of 4 traces (0.00%)\n", "unboxed numbers count, as in the pool"
    assert called("audit", "old", "--storage", fresh.url, "--first", "stored", "--second", "mixray", "--boxed") == 0
    told = capsys.readouterr().out
    assert "stored and mixray disagree on 1 of 4 traces (25.00%)" in told
    assert re.search(r"/old/0 +4 +4 +right \(same\) +unknown \(no_answer\)", told)
    assert called("audit", "old", "--storage", fresh.url, "--first", "stored", "--second", "mixray", "--boxed", "--json") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["gold"], row["answer"], row["first"], row["second"]) == ("4", "4", "right (same)", "unknown (no_answer)")


def test_make_and_redo_follow_a_recipe(fresh: Storage, capfd: Capture) -> None:
    recipe = fresh.recipe()
    assert called("verify", recipe, "--redo", "--storage", fresh.url) == 1
    assert "mixray:" in capfd.readouterr().err
    assert fresh.pool("make", recipe) == 0
    assert [Path(line).name.rpartition("-")[0] for line in capfd.readouterr().out.splitlines()] == ["new", "old"]
    assert called("verify", recipe, "--redo", "--storage", fresh.url) == 0
    told = capfd.readouterr()
    assert [line.partition(": ")[2] for line in told.out.splitlines()] == ["4 verdicts, none changed"] * 2
    assert "0 of 4 verdicts changed" in told.err
    assert called("verify", recipe, "--redo", "--storage", fresh.url, "--set", "problems.unboxed=true") == 0
    changed = capfd.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in changed] == ["4 verdicts, 1 from unknown to right"] * 2
    assert len(list(Path(fresh.url, "pools").iterdir())) == 4
    assert fresh.pool("show", "old") == 1
    assert "Several pools have this name; seen: old; rule: one of old-" in capfd.readouterr().err
