"""The image and the script: pinned, without secrets, not as root, with a token; and linters have nothing to say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_files import FOLDER, LAUNCHER, ROOT, document

DOCKERFILE = FOLDER / "Dockerfile"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
"""Where linters are: beside the interpreter, whether or not its environment is the shell's."""


def instructions(text: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions with their arguments, continued lines joined."""
    joined = re.sub(r"\\\n\s*(#.*\n)*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines()) if word]


def image_faults(text: str) -> list[str]:
    lines = instructions(text)
    stages = {rest.rpartition(" AS ")[2] for word, rest in lines if word == "FROM"}
    defaults = dict(rest.split("=", 1) for word, rest in lines if word == "ARG" and "=" in rest)
    faults = []
    for word, rest in lines:
        if word == "FROM":
            image = rest.partition(" ")[0]
            image = defaults.get(image.strip("${}"), image)
            if image not in stages and (not re.search(r":[\w.-]*\d", image) or image.endswith(":latest")):
                faults.append(f"{image} is not pinned")
        if word == "ADD":
            faults.append("ADD takes what an address gives today")
        if word in ("ENV", "ARG") and re.search(r"(TOKEN|SECRET|PASSWORD|API_KEY)=\S", rest):
            faults.append("a secret stays in the image")
        if word == "RUN" and re.search(r"(curl|wget)\b.*\|", rest):
            faults.append("what a server gives today is run")
    users = [rest for word, rest in lines if word == "USER"]
    if not users or users[-1].partition(":")[0] in ("root", "0"):
        faults.append("it runs as root")
    if not any(word == "ENV" and "RAY_AUTH_MODE=token" in rest.split() for word, rest in lines):
        faults.append("Ray starts in it without a token")
    return faults


def test_the_image_is_pinned_holds_no_secret_and_does_not_run_as_root() -> None:
    text = DOCKERFILE.read_text()
    assert image_faults(text) == []
    assert "PATH=/opt/venv/bin:$PATH' > /etc/profile.d/" in text, "login shells do not find ray"
    assert {"cpu", "gpu"} <= {rest.rpartition(" AS ")[2] for word, rest in instructions(text) if word == "FROM"}
    for change, fault in (
        (("USER 1000:1000", "USER root"), "it runs as root"),
        (("python:3.11.13-slim-bookworm", "python:latest"), "python:latest is not pinned"),
        (("COPY --chown=ray:ray jobs jobs", "ADD https://example.org/x /x"), "ADD takes what an address gives today"),
        (("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=abc"), "a secret stays in the image"),
        (("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"), "Ray starts in it without a token"),
    ):
        assert fault in image_faults(text.replace(*change)), change


def test_ray_may_write_beside_what_is_mounted_into_the_image() -> None:
    """Docker makes the folders that are missing above a mount as root."""
    lines = instructions(DOCKERFILE.read_text())
    as_ray = lines[lines.index(("USER", "1000:1000")) : [word for word, _ in lines].index("ENTRYPOINT")]
    made = {folder for word, rest in as_ray if word == "RUN" and rest.startswith("mkdir -p ") for folder in rest.split()[2:]}
    mounted = {str(Path(target).parent) for name in LAUNCHER for target in document(name)["file_mounts"]}
    assert mounted | {"/home/ray/.cache/huggingface"} <= made


@pytest.mark.parametrize("extra", ["cpu", "gpu"])
def test_every_package_of_the_image_has_a_version(extra: str) -> None:
    lines = [line for line in (FOLDER / f"requirements-{extra}.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.match(r"^[A-Za-z0-9._-]+(\[[a-z,0-9_-]+\])?==\S+", line) for line in lines)
    pinned = {line.partition("==")[0].lower(): line.partition("==")[2] for line in lines}
    project = (ROOT / "pyproject.toml").read_text()
    assert f"ray[data,train,serve]=={pinned['ray']}" in project
    assert all(f'"{name}=={pinned[name]}"' in project for name in ("transformers", "deepspeed", "datasets"))
    assert pinned["torch"] == ("2.13.0+cpu" if extra == "cpu" else "2.13.0")


def linted(*command: str) -> tuple[int, str]:
    linter = shutil.which(command[0], path=PATH)
    if linter is None:
        pytest.skip(f"{command[0]} is not installed (extra dev)")
    out = subprocess.run([linter, *command[1:]], capture_output=True, text=True, check=False)
    return out.returncode, out.stdout


def test_a_linter_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    assert linted("hadolint", str(DOCKERFILE)) == (0, "")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace("USER 1000:1000", "RUN sudo true"))
    assert linted("hadolint", str(tmp_path / "Dockerfile"))[0] == 1


def test_a_linter_finds_nothing_in_the_script() -> None:
    assert linted("shellcheck", "--shell=bash", str(FOLDER / "local.sh")) == (0, "")


@pytest.mark.parametrize(
    ("starts", "answers", "told"), [(True, False, ""), (False, False, "no Ray cluster answers"), (True, True, "already")]
)
def test_the_script_says_whether_a_cluster_is_there(tmp_path: Path, starts: bool, answers: bool, told: str) -> None:
    """With a ray and a curl that only pretend: one that starts, one that fails, and one where another answers at the port."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "ray").write_text(
        f'#!/bin/sh\n[ "$1" = get-auth-token ] && exec touch {tmp_path}/token\necho it says why\n'
        f"{f'touch {tmp_path}/up; exec sleep 60' if starts else 'exit 1'}\n"
    )
    (programs / "curl").write_text(f"#!/bin/sh\n{'exit 0' if answers else f'test -e {tmp_path}/up'}\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    script = f'source {FOLDER / "local.sh"}; echo "$? ${{RAY_API_SERVER_ADDRESS:-none}}"; mixray_cluster_stop 2>/dev/null'
    environment = {name: value for name, value in os.environ.items() if name != "RAY_API_SERVER_ADDRESS"} | {"TMPDIR": str(tmp_path)}
    out = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert told in out.stderr
    assert ("listens" in out.stdout, out.stdout.splitlines()[-1]) == (not told, "1 none" if told else "0 http://127.0.0.1:8265")
    assert ("it says why" in out.stderr) == (not starts)
    if not answers:
        assert (tmp_path / "token").stat().st_mode & 0o077 == 0, "others can read the token"
