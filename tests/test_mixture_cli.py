"""`mixray mixture` as a user calls it: what is printed, what is written, what the hub is sent, one message for every failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from command_line import called
from hub import Hub
from made_up_mixtures import make_mixture, make_pools

from mixray.store import Store

Capture = pytest.CaptureFixture[str]


class Storage:
    """A storage with the mixtures `half` and `most`: the long trace for four, and six, of the same eight problems."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder / "runs")
        pools = make_pools(Store(self.url))
        self.half, self.most = (make_mixture(Store(self.url), name, pools, range(count)) for name, count in (("half", 4), ("most", 6)))

    def mixture(self, *arguments: str) -> int:
        return called("mixture", *arguments, "--storage", self.url)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Read only."""
    return Storage(tmp_path_factory.mktemp("cli"))


def test_ls_lists_mixtures_with_what_was_asked_and_what_they_hold(made: Storage, capsys: Capture) -> None:
    assert made.mixture("ls") == 0
    head, half, most = capsys.readouterr().out.splitlines()
    assert head.split() == ["mixture", "problems", "rows", "tokens", "loss", "tokens", "alpha", "asked", "of", "the", "loss", "tokens"]
    assert half.split()[:6] == [made.half.folder, "8", "8", "216", "136", "0.5"]
    assert "long 50.0%, short 50.0% of the rows" in half
    assert "long 95.7%, short 4.3%" in most
    assert made.mixture("ls", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["mixture"], row["num_rows"]) for row in told] == [(made.half.folder, 8), (made.most.folder, 8)]


def test_an_empty_storage_says_how_to_fill_it(tmp_path: Path, capsys: Capture) -> None:
    assert called("mixture", "ls", "--storage", str(tmp_path / "none")) == 0
    assert "holds no mixture; `mixray mixture make RECIPE` makes some" in capsys.readouterr().out


def test_a_mixture_of_an_earlier_version_is_listed_as_such(tmp_path: Path, capsys: Capture) -> None:
    old = Store(str(tmp_path)).artefact("mixtures", "old", {})
    with old.staging() as staging:
        staging.outcome = {"alpha": 0.5}
    assert called("mixture", "ls", "--storage", str(tmp_path)) == 0
    assert capsys.readouterr().out == f"not shown, of an earlier version: {old.folder}\n"


def test_show_tells_shares_steps_subjects_levels_and_rows(made: Storage, capsys: Capture) -> None:
    assert made.mixture("show", "half", "--rows", "1") == 0
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines()]
    assert f"mixtures/{made.half.folder}" in told
    assert ["long", "50.0%", "4", "50.0%", "160", "74.1%", "120", "88.2%", "1"] in lines
    assert ["contaminated", "4", "8", "24", "16", "8", "8"] in lines
    assert ["sums", "[even]", "3", "33.3%", "37.5%", "94", "64", "2", "1"] in lines
    assert ["-", "2", "25.0%", "25.0%", "54", "34", "1", "1"] in lines
    assert ["1", "4", "50.0%", "50.0%", "108", "68", "2", "2"] in lines
    assert "p0 from long" in told
    assert "p1 from" not in told
    assert made.mixture("show", "half", "--json", "--rows", "3") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["mixture"], len(shown["rows"]), len(shown["strata"]["subject"])) == (made.half.folder, 3, 3)
    assert shown["outcome"]["alpha"] == 0.5


def test_nothing_a_model_wrote_acts_on_the_terminal(made: Storage, capsys: Capture) -> None:
    assert made.mixture("show", "half") == 0
    told = capsys.readouterr().out
    assert not set(told) & {"\x1b", "\x07", "\x00"}
    assert r"[bold]no markup[/bold] \x1b]0;owned\x07" in told


def test_diff_says_in_words_that_one_is_nested(made: Storage, capsys: Capture) -> None:
    assert made.mixture("diff", "half", "most") == 0
    told = capsys.readouterr().out
    assert "nested: every problem that takes long in A takes it in B (4 of 6)" in told
    assert ["long", "rows", "50.0%", "75.0%", "+25.0", "points"] in [line.split() for line in told.splitlines()]
    assert made.mixture("diff", "half", "most", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["other_pool"], found["num_same"]) == (["p4", "p5"], 6)
    assert found["nestings"] == [{"pool": "long", "first": 4, "second": 6, "first_alone": 0, "second_alone": 2}]
    assert found["shares"][1]["long"]["rows"] == 0.75


@pytest.mark.parametrize("form", ["trl", "prompt-completion", "axolotl", "llama-factory", "parquet", "datasets"])
def test_export_writes_what_was_asked_for(form: str, made: Storage, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert made.mixture("export", "half", str(out), "--format", form) == 0
    assert capsys.readouterr().out == f"8 rows -> {out}\n"
    assert made.mixture("export", "half", str(out), "--format", form) == 1
    assert "nothing is written over" in capsys.readouterr().err
    assert made.mixture("export", "half", str(out), "--format", form, "--force") == 0


def test_the_license_goes_onto_the_card(made: Storage, tmp_path: Path) -> None:
    assert made.mixture("export", "half", str(tmp_path / "out"), "--format", "datasets", "--license", "mit") == 0
    assert "\nlicense: mit\n" in (tmp_path / "out/README.md").read_text()


def test_preferences_tell_their_counts(made: Storage, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "pairs.jsonl"
    assert made.mixture("preferences", "half", str(out)) == 0
    assert capsys.readouterr().out == f"5 pairs of 8 problems (4 looping, 1 wrong; 3 without a bad trace) -> {out}\n"
    assert made.mixture("preferences", "half", str(out)) == 1
    assert made.mixture("preferences", "half", str(out), "--force") == 0


def test_push_sends_card_and_rows(made: Storage, hub: Hub, tmp_path: Path, capfd: Capture) -> None:
    assert made.mixture("push", "half", "me/half", "--license", "mit") == 0
    assert capfd.readouterr().out == f"{hub.url}/datasets/me/half/commit/main\n"
    assert hub.private is False
    assert sorted(hub.files) == ["README.md", "data/train-00000-of-00001.parquet"]
    assert hub.messages == [f"mixtures/{made.half.folder}, 8 rows"]
    for path, data in hub.files.items():
        (tmp_path / "got" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "got" / path).write_bytes(data)
    rows = datasets.load_dataset(str(tmp_path / "got"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.to_list() == made.half.read_table().to_pylist()
    assert b"license: mit" in hub.files["README.md"]


def test_a_second_push_leaves_no_part_of_the_first(made: Storage, hub: Hub) -> None:
    hub.private = True
    hub.files = {"data/train-00000-of-00002.parquet": b"old", "data/train-00001-of-00002.parquet": b"old", "notes.txt": b"mine"}
    assert made.mixture("push", "most", "me/half", "--private") == 0
    assert sorted(hub.files) == ["README.md", "data/train-00000-of-00001.parquet", "notes.txt"]


def test_a_private_push_makes_a_private_repository_and_refuses_a_public_one(made: Storage, hub: Hub, capfd: Capture) -> None:
    assert made.mixture("push", "half", "me/half", "--private") == 0
    assert hub.private is True
    hub.private, hub.files = False, {}
    assert made.mixture("push", "half", "me/half", "--private") == 1
    assert "The repository is public; seen: me/half" in capfd.readouterr().err
    assert hub.files == {}


def test_the_endpoint_is_that_of_the_environment(made: Storage, hub: Hub) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mixray.cli", "mixture", "push", "half", "me/half", "--storage", made.url],
        env={**os.environ, "HF_ENDPOINT": hub.url}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{hub.url}/datasets/me/half/commit/main\n", "")
    assert "POST /api/repos/create" in hub.calls


def test_a_push_without_a_token_sends_nothing(made: Storage, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert made.mixture("push", "half", "me/half") == 1
    assert "Nothing can be pushed without a token" in capfd.readouterr().err
    assert hub.calls == []


def test_a_token_the_hub_does_not_know_is_told_and_not_shown(
    made: Storage, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert made.mixture("push", "half", "me/half") == 1
    told = capfd.readouterr().err
    assert "The hub did not take the mixture; seen: me/half" in told
    assert "401" in told
    assert "hf_wrong" not in told
    assert hub.files == {}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["show", "hafl"], 1, "did you mean 'half'?"),
        (["show", "half", "--rows", "-1"], 2, "see `mixray mixture show --help`"),
        (["diff", "half"], 2, "see `mixray mixture diff --help`"),
        (["diff", "half", "mots"], 1, "did you mean 'most'?"),
        (["export", "half", "x", "--format", "csv"], 2, "'csv' is not one of 'messages-jsonl', 'trl', 'axolotl'"),
        (["export", "half", "x", "--format", "datasets", "--license", "M I T"], 1, "A license is wrong; seen: M I T"),
        (["push", "half", "half"], 2, "A repository's name is wrong; seen: half; rule: OWNER/NAME"),
        (["push", "half", "a/../b"], 2, "A repository's name is wrong"),
        (["preferences", "hafl", "x"], 1, "did you mean 'half'?"),
    ],
)
def test_every_failure_is_told_with_its_exit_code(
    arguments: list[str], code: int, told: str, made: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert made.mixture(*arguments) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("mixray: ")
    assert told in said.err
    assert os.listdir(tmp_path) == []


def test_mixture_alone_shows_its_commands(capsys: Capture) -> None:
    assert called("mixture") == 2
    told: Any = capsys.readouterr().err
    assert told.startswith("Usage: mixray mixture")
    assert all(command in told for command in ("ls", "show", "diff", "export", "push", "preferences"))
