"""What travels to a cluster, what a job is called, and what it is given: all that can be said without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from command_line import called
from ray.runtime_env import RuntimeEnv

from mixray.entry import SECRETS
from mixray.errors import ClusterError, RecipeError
from mixray.jobs import JOBS
from mixray.recipe_file import parse_recipe, plain_recipe
from mixray.submitting import ENVIRONMENTS, Cluster, Order, exit_code, runtime_environment, submitted
from mixray.submitting.travel import MOST_BYTES, RECIPE, pack

PACKAGE = Path(__file__).parents[1]


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "problems": {"source": "data/problems.jsonl"},
        "teachers": {"long": {"traces": "long.jsonl"}, "short": {"model": "owner/name", "lora": "adapter"}},
        "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": 0.2}},
        "students": {"student-s": {"model": "tiny:student-s"}},
        "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "num_problems": 2}}},
    } | changes


def order(job: str = "run", storage: str = "s3://bucket/runs", shared_paths: bool = False, **changes: Any) -> Order:
    data = recipe(**changes)
    return Order(job, parse_recipe(recipe(**changes), []), data, storage, shared_paths=shared_paths)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files the recipe names."""
    folder = tmp_path / "here"
    for name in ("data/problems.jsonl", "long.jsonl", "adapter/adapter_config.json", "../outside.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")
    monkeypatch.chdir(folder)
    return folder


def test_a_recipe_travels_with_the_files_it_names_by_the_paths_it_names_them_by(here: Path, tmp_path: Path) -> None:
    """The path is part of an artefact's hash: a job finds what a run here would make."""
    sent = order()
    pack(tmp_path, sent.data, sent.files)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and here not in path.parents} >= {
        RECIPE, "data/problems.jsonl", "long.jsonl", "adapter/adapter_config.json",
    }  # fmt: skip
    assert parse_recipe(yaml.safe_load((tmp_path / RECIPE).read_text()), []) == sent.recipe


def test_a_configuration_of_deepspeed_travels_as_what_it_says(here: Path) -> None:
    """Nobody looks for its file on a node, where another might lie under its name."""
    (here / "ds.json").write_text('{"zero_optimization": {"stage": 2}}')
    written = recipe(train={"deepspeed": "ds.json"})
    (here / "small.yaml").write_text(yaml.safe_dump(written))
    sent = plain_recipe("small.yaml")
    assert sent == recipe(train={"deepspeed": {"zero_optimization": {"stage": 2}}})
    assert parse_recipe(sent, []) == parse_recipe(written, [])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"problems": {"source": "../outside.jsonl"}}, "this machine alone"),
        ({"problems": {"source": "{outside}"}}, "this machine alone"),
        ({"problems": {"source": "./nothing.jsonl"}}, "not there"),
        ({"serve": {"keys_file": "long.jsonl"}}, "secrets"),
    ],
)
def test_what_cannot_travel_is_refused_before_anything_is_sent(here: Path, changes: dict[str, Any], told: str) -> None:
    changes = {
        part: {key: value.format(outside=here.parent / "outside.jsonl") for key, value in of.items()} for part, of in changes.items()
    }
    with pytest.raises(RecipeError, match=told):
        order(**changes)


@pytest.mark.usefixtures("here")
def test_paths_of_the_nodes_and_urls_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shared.jsonl").write_text("{}\n")
    shared = {"source": str(tmp_path / "shared.jsonl")}
    assert [str(path) for path in order(shared_paths=True, problems=shared).files] == ["adapter", "long.jsonl"]
    for source in ("s3://bucket/problems.jsonl", "/nodes/alone/problems.jsonl", "hf:owner/name"):
        assert [str(path) for path in order(problems={"source": source}).files] == ["adapter", "long.jsonl"]


def test_files_that_are_too_large_are_refused_with_a_way_out(here: Path, tmp_path: Path) -> None:
    with (here / "long.jsonl").open("wb") as file:
        file.truncate(MOST_BYTES)
    sent = order()
    with pytest.raises(RecipeError, match=r"too large to travel.*--shared-paths"):
        pack(tmp_path, sent.data, sent.files)


def test_a_job_is_called_by_all_that_is_asked_for_and_by_nothing_else(here: Path) -> None:
    name = order().name
    assert name.startswith("mixray-small-run-")
    assert order().name == name
    others = [
        order("train"),
        order(storage="s3://bucket/other"),
        order(seed=1),
        Order("run", order().recipe, recipe(), "s3://bucket/runs", ("-x",)),
    ]
    (here / "long.jsonl").write_text("{} \n")
    assert name not in {other.name for other in [*others, order()]}, "also where a file that travels holds something else"


@pytest.mark.usefixtures("here")
def test_a_name_from_outside_cannot_act_on_the_shell_of_a_node() -> None:
    assert Order("run", order().recipe, recipe(), "s3://b/$(x)", ("--set", "a=b; c")).entrypoint == (
        "python -m mixray.entry run recipe.yaml --storage 's3://b/$(x)' --set 'a=b; c'"
    )


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_ray_takes_every_environment_and_none_brings_another_ray(kind: str, tmp_path: Path) -> None:
    environment = runtime_environment(kind, str(tmp_path), secrets=["HF_TOKEN"])
    RuntimeEnv(**{key: value for key, value in environment.items() if key not in ("working_dir", "py_modules")})
    assert environment["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60", SECRETS: "HF_TOKEN"}
    packages = environment.get("pip") or environment.get("uv", {}).get("packages", [])
    assert bool(packages) == (kind != "baked")
    assert not [name for name in packages if name.startswith("ray==") or name.startswith("ray[data")]
    assert [name.partition("==")[0].partition("[")[0] for name in packages if "vllm" in name] == (["vllm"] if packages else [])
    assert environment.get("py_modules", [str(PACKAGE / "mixray")]) == [str(PACKAGE / "mixray")]


def test_the_cpu_build_is_looked_for_where_it_lies_or_refused(tmp_path: Path) -> None:
    installed = runtime_environment("uv", str(tmp_path), "cpu")["uv"]
    assert [name for name in installed["packages"] if name.startswith("torch==")] == ["torch==2.13.0+cpu"]
    assert RuntimeEnv(uv=installed)["uv"]["uv_pip_install_options"] == ["--no-cache", "--torch-backend=cpu"]
    assert "uv_pip_install_options" not in runtime_environment("uv", str(tmp_path), "gpu")["uv"]
    with pytest.raises(RecipeError, match=r"pip finds no CPU build of torch.*--env uv"):
        runtime_environment("pip", str(tmp_path), "cpu")


def test_secrets_are_names_and_a_value_is_sent_only_when_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_value")
    assert "hf_value" not in str(runtime_environment("baked", str(tmp_path), secrets=["HF_TOKEN"]))
    assert runtime_environment("baked", str(tmp_path), sent=["HF_TOKEN"])["env_vars"]["HF_TOKEN"] == "hf_value"
    with pytest.raises(RecipeError, match="not set here; seen: NOBODY"):
        runtime_environment("baked", str(tmp_path), sent=["NOBODY"])


def test_a_job_without_its_secret_does_not_begin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mixray.entry import start

    monkeypatch.setenv(SECRETS, "PATH,NOBODY")
    with pytest.raises(SystemExit) as left:
        start("run", ["tiny"])
    assert left.value.code == 1
    assert "seen: NOBODY;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", None, 1), ("FAILED", -9, 137), ("STOPPED", None, 130)],
)
def test_the_exit_code_is_the_jobs(status: str, code: int | None, expected: int) -> None:
    assert exit_code(SimpleNamespace(status=status, driver_exit_code=code)) == expected


def test_every_job_has_its_script() -> None:
    for name in JOBS:
        text = (PACKAGE / "jobs" / f"{name}.py").read_text()
        assert f'start("{name}", sys.argv[1:])' in text
        assert "--entrypoint-num-cpus 1" in text
    assert {path.stem for path in (PACKAGE / "jobs").glob("*.py")} == set(JOBS)


def test_the_drivers_node_may_be_chosen_and_is_no_part_of_what_is_asked_for(here: Path) -> None:
    asked: list[dict[str, Any]] = []
    cluster = Cluster.__new__(Cluster)
    cluster.client = SimpleNamespace(list_jobs=list, submit_job=lambda **given: asked.append(given))  # type: ignore[assignment]
    for labels in ({}, {"mixray/role": "worker"}):
        sent = Order("run", order().recipe, recipe(), "s3://bucket/runs", driver_labels=labels)
        assert sent.name == order().name
        assert submitted(cluster, sent, lambda folder: {}, lambda: None) == (f"{sent.name}-1", "begun")
    assert [given["entrypoint_label_selector"] for given in asked] == [None, {"mixray/role": "worker"}]
    assert {given["entrypoint_num_cpus"] for given in asked} == {1}


def test_a_label_that_selects_nothing_is_told_before_anything_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("submit", "tiny", "--driver-label", "worker") == RecipeError.exit_code
    assert "does not select labels" in capsys.readouterr().err


def test_what_nobody_answers_is_told_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--address", "http://127.0.0.1:9", "--storage", str(tmp_path))
    assert called("submit", "tiny", *arguments) == ClusterError.exit_code
    assert called("submit", "tiny", "--job", "nothing", *arguments) == RecipeError.exit_code
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "seen: http://127.0.0.1:9: Failed to connect" in told[0]
    assert not list(tmp_path.iterdir())
    assert "mixray: No job server answers" in told[0]


@pytest.mark.parametrize("storage", ["sftp://me:SECRET@nas/runs", "simplecache::sftp://me:SECRET@nas/runs"])
@pytest.mark.parametrize("command", [("submit", "tiny", "--address", "http://127.0.0.1:9"), ("plan", "tiny"), ("pool", "ls")])
def test_a_storage_with_a_password_is_refused_and_not_repeated(
    command: tuple[str, ...], storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job's storage stands in its command line and in every list of jobs."""
    assert called(*command, "--storage", storage) == RecipeError.exit_code
    told = "".join(capsys.readouterr())
    assert "An address holds a name or a password: --storage; seen: sftp://…@nas/runs" in told
    assert "SECRET" not in told


def test_the_address_of_ray_client_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("jobs", "ls", "--address", "ray://127.0.0.1:10001") == ClusterError.exit_code
    assert "not a job server's; seen: ray://127.0.0.1:10001; rule: a job server is at the dashboard's port" in capsys.readouterr().err
