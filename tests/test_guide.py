"""The guide does what it says: each command is run, or only read where it needs a cluster or the hub; its numbers are the code's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import guide
import numpy as np
import pytest
import yaml

from mixray.recipe_file import parse_recipe
from mixray.report.gaps import Pairs, difference

NOT_MIXRAY = {"cat", "curl", "export", "kill"}
"""What blocks that are run may use besides."""


def test_only_what_needs_a_cluster_or_the_hub_is_not_run() -> None:
    """Here is which: nobody can start machines or push to a hub in a test, so these lines are read by the program they are for."""
    lines = [" ".join(words[:2] if words[0] == "ray" else words[:3]) for block in guide.ELSEWHERE for words in guide.commands(block)]
    assert sorted(set(lines)) == [
        "export RAY_AUTH_MODE=token",
        "mixray jobs logs",
        "mixray jobs ls",
        "mixray mixture push",
        "mixray status my.yaml",  # of a bucket
        "mixray student push",
        "mixray submit my.yaml",
        "ray dashboard",
        "ray down",
        "ray up",
    ]


def test_every_command_of_the_guide_can_be_read() -> None:
    from ray.scripts.scripts import cli as ray

    read = 0
    inline = [guide.commands(line)[0] for line in guide.INLINE]
    for words in [*inline, *(words for block in [*guide.RUN, *guide.ELSEWHERE] for words in guide.commands(block))]:
        if words[0] in ("mixray", "ray"):
            guide.read(guide.mixray() if words[0] == "mixray" else ray, words)
            read += 1
        else:
            assert words[0] in NOT_MIXRAY, words
    assert read > 30
    for wrong in (
        ["mixray", "run", "my.yaml", "--nothing"],
        ["mixray", "pool", "nothing"],
        ["mixray", "submit", "--job", "run"],
        ["ray", "up", "x", "--nothing"],
    ):
        with pytest.raises(Exception, match=r"nothing|Missing|RECIPE"):
            guide.read(guide.mixray() if wrong[0] == "mixray" else ray, wrong)


def test_the_files_a_line_names_are_there() -> None:
    named = {
        word for block in [*guide.RUN, *guide.ELSEWHERE] for words in guide.commands(block) for word in words if word.startswith("cluster/")
    }
    assert named == {"cluster/aws.yaml"}
    assert all((guide.ROOT / name).is_file() for name in named)
    assert set(guide.FILES) == {"problems.jsonl", "checks.py", "known.jsonl", "my.yaml", "traces.jsonl"}
    parse_recipe(yaml.safe_load(guide.FILES["my.yaml"]), [])


def test_what_is_sent_to_a_cluster_keeps_off_spot_machines_and_names_secrets_that_the_nodes_are_given() -> None:
    sent = [words for block in guide.ELSEWHERE for words in guide.commands(block) if words[:2] == ["mixray", "submit"]]
    readme = (guide.ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    given = set(guide.re.findall(r"^ +echo '(\w+)=\.\.\.' >> ~/\.ray/env", readme, guide.re.MULTILINE))
    assert sent
    for words in sent:
        assert words[words.index("--driver-label") + 1] == "mixray/role=worker"
        assert {words[place + 1] for place, word in enumerate(words) if word == "--secret"} <= given


def test_links_lead_to_files() -> None:
    targets = guide.re.findall(r"\]\((?!https?://)([^)#]+)", guide.TEXT)
    assert len(targets) > 10
    assert [target for target in targets if not (guide.ROOT / "docs" / target).exists()] == []
    assert "docs/guide.md" in (guide.ROOT / "README.md").read_text(encoding="utf-8")


def equally_good(num_problems: int, differ: float) -> Pairs:
    """Return two arms that are right equally often and answer a share `differ` of the problems differently."""
    apart = round(num_problems * differ / 2)
    both = (num_problems - 2 * apart) // 2
    hard, easy = np.zeros((2, 1, num_problems))
    hard[0, :apart] = easy[0, apart : 2 * apart] = 1
    hard[0, 2 * apart : 2 * apart + both] = easy[0, 2 * apart : 2 * apart + both] = 1
    return Pairs(hard, easy, 0)


def test_the_table_of_gaps_is_what_the_reports_code_says_and_the_rule_is_near_it() -> None:
    assert [row[0] for row in guide.GAPS] == [30, 100, 200, 400, 1000, 2000, 5000]
    for num_problems, *told in guide.GAPS:
        shown = [difference([equally_good(int(num_problems), differ)], 0.95, 1000).detectable(0.95) for differ in guide.DIFFER]
        assert [f"{100 * gap:.1f}" for gap in shown] == [f"{gap:.1f}" for gap in told]
        if num_problems >= 200:
            assert [280 * (differ / num_problems) ** 0.5 for differ in guide.DIFFER] == pytest.approx(told, rel=0.06)


class Reader:
    """Somebody who follows the guide in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder / "work", list[str]()
        programs = folder / "bin"
        programs.mkdir()
        self.folder.mkdir()
        # Like the installed command: the folder one works in is not where Python looks first.
        (programs / "mixray").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m mixray.cli "$@"\n')
        (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        path = os.pathsep.join(filter(None, (str(guide.ROOT), os.environ.get("PYTHONPATH"))))
        self.environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path}
        for name, text in guide.FILES.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        (self.folder / "cluster").symlink_to(guide.ROOT / "cluster")

    def follow(self, block: str) -> str:
        """Run a block as a script; what goes on in the background is waited for."""
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{block}\nwait"], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        self.said.append(done.stdout)
        print(f"{time.monotonic() - began:5.1f} s  {block.splitlines()[0][:80]}")  # `pytest -rP` shows it
        return done.stdout

    def found(self, pattern: str) -> list[Path]:
        return sorted((self.folder / "runs").glob(pattern))


@pytest.mark.e2e
@pytest.mark.timeout(1800)  # a machine busy with other things takes several times as long
def test_following_the_guide_from_its_first_line_to_its_last_gives_a_student_that_answers(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for block in guide.RUN:
        reader.follow(block)
    judged = [json.loads(line) for line in (reader.folder / "judged.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in judged] == ["right", "wrong", "unknown"]
    (aside,) = reader.found("problems/train-*/quarantine.jsonl")
    assert [json.loads(line)["reason"] for line in aside.read_text().splitlines()] == ["gold_not_itself"], "of p12"
    (old,) = reader.found("pools/old-*/manifest.json")
    counts = json.loads(old.read_text())["outcome"]
    assert (counts["right"], counts["wrong"], counts["truncated"]) == (1, 2, 1)
    assert [path.name.rpartition("-")[0] for path in reader.found("students/*")] == ["mine-long-s0", "mine-mix-0.2-s0", "mine-short-s0"]
    (folder,) = reader.found("reports/my-*")
    report = json.loads((folder / "report.json").read_text())
    assert {gap["kind"] for gap in report["gaps"]} >= {"hard - easy", "mix - best single", "trained - untouched"}
    assert all("detectable" in gap and "holds_jointly" in gap for gap in report["gaps"])
    assert {row["label"] for row in report["costs"]} == {"short", "mix-0.2", "long"}
    (answer,) = [json.loads(said.splitlines()[-1]) for said in reader.said if said.rstrip().endswith("}") and '"choices"' in said]
    assert (answer["model"], len(answer["choices"])) == ("mine", 1)
    assert (reader.folder / "mix.jsonl").stat().st_size > 0
    assert (reader.folder / "long.parquet").stat().st_size > 0
