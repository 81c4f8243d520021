"""What a cluster is given: the configuration that `serve deploy` and KubeRay take, and the certificate at the door."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from certificate import self_signed, signed_by_another
from command_line import called
from gated import CHAT, GOOD, gate, question
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema
from vllm.entrypoints.chat_utils import load_chat_template

from mixray import chat
from mixray.certificates import certificates
from mixray.errors import RecipeError, ServingError
from mixray.recipe import Serve
from mixray.serving import deploy
from mixray.serving.adapters import groups
from mixray.serving.app import replica_settings, student_config
from mixray.serving.door import Door
from mixray.serving.port import gates


def test_the_configuration_is_what_ray_serve_reads_and_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXRAY_API_KEY", "a-key-nobody-may-see")
    serve = Serve(port=8123, replicas=(0, 4), limits={"max_tokens": 100}, keys_file="/etc/mixray/keys", tls_cert="/c", tls_key="/k")
    text = deploy.as_yaml({"short": "/models/short"}, serve)
    schema = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (application,) = schema.applications
    assert application.import_path == "mixray.serving.deploy:application"
    assert application.args == {
        "models": {"short": "/models/short"},
        "serve": {"replicas": [0, 4], "limits": {"max_tokens": 100}, "keys_file": "/etc/mixray/keys"},
    }
    assert (schema.http_options.host, schema.http_options.port) == ("0.0.0.0", 8123), "loopback is out of reach inside a pod"
    assert deploy.configuration({}, Serve(host="127.0.0.1"))["http_options"]["host"] == "127.0.0.1", "a host that is named counts"
    assert schema.http_options.model_dump()["ssl_certfile"] == "/c"
    assert "nobody-may-see" not in text


def test_a_cluster_without_a_key_or_with_wrong_settings_refuses_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIXRAY_API_KEY", raising=False)
    with pytest.raises(ServingError, match="no key for its clients"):
        deploy.application({"models": {}, "serve": {}})
    monkeypatch.setenv("MIXRAY_API_KEY", "0123456789")
    with pytest.raises(ServingError, match="too short"):
        deploy.application({"models": {}, "serve": {}})
    with pytest.raises(RecipeError, match="replica"):
        deploy.application({"models": {}, "serve": {"replica": 1}})


def test_the_command_writes_it_for_folders_by_name(random_student: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "serve.yaml"
    given = ["serve", random_student, f"twin={random_student}", "tiny:student-s", "--storage", str(tmp_path / "runs"), "--config-only"]
    assert called(*given, "--out", str(out), "--port", "9000", "--set", "serve.max_ongoing=7") == 0
    told = yaml.safe_load(out.read_text())
    args = told["applications"][0]["args"]
    assert set(args["models"]) == {Path(random_student).name, "twin", "student-s"}
    assert args["models"]["twin"] == random_student
    assert args["serve"] == {"max_ongoing": 7}
    assert told["http_options"] == {"host": "0.0.0.0", "port": 9000}
    assert called(*given) == 0
    assert "import_path: mixray.serving.deploy:application" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tiny", "tiny:student-s"], "served alone"),
        (["a=tiny:student-s", "a=tiny:student-s"], "one name"),
        (["Ä=tiny:student-s"], "cannot be used"),
        (["tiny:student-s", "--set", "train.epochs=1"], "only settings of serve"),
        (["tiny:student-s", "--set", "serve.replicas=[3, 1]"], "fewest, most"),
        (["nowhere"], "missing"),
    ],
)
def test_what_cannot_be_served_is_told_before_anything_starts(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("serve", *given, "--storage", str(tmp_path / "runs"), "--config-only") in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_replicas_are_a_number_or_a_pair_and_certificates_come_with_keys() -> None:
    assert Serve(replicas=2).replicas == (2, 2)
    assert Serve(replicas=[0, 3]).replicas == (0, 3)
    for wrong in ({"replicas": 0}, {"replicas": [2, 1]}, {"tls_cert": "c"}, {"tls_key": "k"}, {"max_queued": -1}, {"limits": {"n": 1}}):
        with pytest.raises(ValidationError):
            Serve.model_validate(wrong)


def test_autoscaling_has_targets_that_are_met() -> None:
    assert replica_settings(Serve(replicas=2))["num_replicas"] == 2
    told = AutoscalingConfig(**replica_settings(Serve(replicas=[0, 3], target_ongoing_requests=8))["autoscaling_config"])
    assert (told.min_replicas, told.initial_replicas, told.max_replicas) == (0, 1, 3)
    assert told.get_target_ongoing_requests() == 8
    assert (told.upscale_delay_s, told.downscale_delay_s) == (15, 300)


def adapted(folder: Path, base: str | None, rank: int = 8) -> str:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": rank}))
    (folder / "config.json").write_text("{}")
    return str(folder)


def test_adapters_share_an_engine_where_base_tokenizer_and_settings_are_one(random_student: str, tmp_path: Path) -> None:
    sources = {name: adapted(tmp_path / name, random_student, rank) for name, rank in (("a", 8), ("b", 12), ("c", 8))}
    (Path(sources["c"]) / "generation_config.json").write_text('{"eos_token_id": 7}')
    sources["untouched"] = random_student
    sources["pushed"] = adapted(tmp_path / "pushed", None)
    shared, *alone = groups(sources, Serve(adapters="shared"))
    assert (shared.source, shared.names, shared.max_rank, shared.tokenizer) == (random_student, ("a", "b"), 16, sources["a"])
    assert [(group.name, group.adapters) for group in alone] == [("c", {}), ("untouched", {}), ("pushed", {})]
    assert [group.names for group in groups(sources, Serve())] == [("a",), ("b",), ("c",), ("untouched",), ("pushed",)]


def test_the_engine_of_a_student_that_prints_the_day_is_handed_the_template_that_is_asked(random_student: str, tmp_path: Path) -> None:
    source = Path(shutil.copytree(random_student, tmp_path / "dated"))
    template = source / "chat_template.jinja"
    template.write_text("{{ strftime_now('%d %b %Y') }}" + template.read_text())
    told = {}
    for name, folder in (("dated", str(source)), ("plain", random_student)):
        (group,) = groups({name: folder}, Serve())
        told[name] = student_config(group, Serve(), 1).get_engine_config().frontend_kwargs
    assert load_chat_template(told["dated"]["chat_template"]) == chat.load_tokenizer(source).chat_template
    assert "chat_template" not in told["plain"]


@contextlib.contextmanager
def https(certificate: str, key: str) -> Iterator[str]:
    """Have a gate behind a door with a certificate; give its URL."""
    door = Door("127.0.0.1", 0, certificate, key)
    listener = gates("127.0.0.1", 0)
    server = door.server(gate())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("make", [self_signed, signed_by_another])
def test_the_endpoint_knows_its_own_certificate_whatever_host_it_names_and_whoever_signed_it(
    make: Callable[[Path], tuple[str, str]], tmp_path: Path
) -> None:
    certificate, key = make(tmp_path)
    with https(certificate, key) as url:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{url}/health")
        with httpx.Client(verify=certificates(certificate), headers=GOOD) as client:
            assert client.get(f"{url}/health").json() == {"status": "ok"}
            assert client.post(url + CHAT, json=question()).status_code == 200


def test_it_takes_no_other_certificate_for_its_own_not_even_one_of_the_same_signer(tmp_path: Path) -> None:
    own, _ = signed_by_another(tmp_path, "own.example")
    with (
        https(*signed_by_another(tmp_path, "other.example")) as url,
        httpx.Client(verify=certificates(own)) as client,
        pytest.raises(httpx.ConnectError, match="certificate"),
    ):
        client.get(f"{url}/health")
