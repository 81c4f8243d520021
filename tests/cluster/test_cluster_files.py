"""Every file in cluster/, offline: Ray's and KubeRay's own schemas, and that none of them lets strangers in."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from exposure import exposed

from mixray.clusters import read_cluster
from mixray.recipe import Serve
from mixray.serving import deploy

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
LAUNCHER = ["aws.yaml", "gcp.yaml"]
KUBERAY = ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml", "kuberay/rayservice.yaml"]
FILES = sorted(str(path.relative_to(FOLDER)) for pattern in ("*.yaml", "*.yml", "*.json") for path in FOLDER.rglob(pattern))
DASHBOARDS = ["grafana/mixray.json"]
BASE = "kuberay/base.yaml"
SCHEMAS = Path(os.environ.get("KUBERAY_SCHEMAS", ROOT.parent / "shared" / "kuberay"))
DOCKERFILE = FOLDER / "Dockerfile"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
"""Where linters are: beside the interpreter, whether or not its environment is the shell's."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def document(name: str) -> dict[str, Any]:
    (only,) = documents(name)
    return only


def spec_of(name: str) -> dict[str, Any]:
    spec = document(name)["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


# Schemas


def checked_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_up_takes_the_file_and_adds_nothing_of_its_own(name: str) -> None:
    prepared = checked_by_ray(document(name))
    for commands in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert prepared[commands] == []
    assert prepared["available_node_types"].keys() == document(name)["available_node_types"].keys()


def test_a_misspelt_key_is_refused() -> None:
    config = document("aws.yaml")
    config["available_node_types"]["teacher"]["max_worker"] = 1
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        checked_by_ray(config)


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"KubeRay's schemas are not at {SCHEMAS}; KUBERAY_SCHEMAS names their folder")
@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_takes_the_manifest(name: str) -> None:
    manifest = document(name)
    schema = json.loads((SCHEMAS / f"{manifest['kind'].lower()}s.v1.schema.json").read_text())
    assert manifest["apiVersion"] == "ray.io/v1"
    jsonschema.Draft202012Validator(schema).validate(manifest)
    manifest["spec"]["rayClusterSpecs"] = {}
    with pytest.raises(jsonschema.ValidationError, match="rayClusterSpecs"):
        jsonschema.Draft202012Validator(schema).validate(manifest)


@pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed (extra dev)")
def test_kubernetes_takes_what_all_of_them_stand_on() -> None:
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for one in documents(BASE):
        kubernetes_validate.validate(one, version, strict=True)
        with pytest.raises(kubernetes_validate.ValidationError, match="metadate"):
            kubernetes_validate.validate(one | {"metadate": {}}, version, strict=True)


@pytest.mark.parametrize("name", KUBERAY)
def test_rays_autoscaler_reads_the_groups_as_mixray_does(name: str) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _generate_available_node_types_from_ray_cr_spec

    theirs = _generate_available_node_types_from_ray_cr_spec(spec_of(name))
    cluster = read_cluster(FOLDER / name)
    for ours, kind in zip((cluster.head, *cluster.workers), theirs.values(), strict=True):
        assert ours.resources["CPU"] == kind["resources"]["CPU"]
        assert ours.resources["GPU"] == kind["resources"].get("GPU", 0)
        assert (ours.labels, ours.most, ours.priority) == (kind["labels"], kind["max_workers"], kind.get("priority", 0))


def test_the_job_has_the_same_cluster_as_the_one_that_stays() -> None:
    assert spec_of("kuberay/rayjob.yaml") == spec_of("kuberay/raycluster.yaml")


def test_the_service_serves_what_the_command_prints() -> None:
    from ray.serve.schema import ServeDeploySchema

    text = document("kuberay/rayservice.yaml")["spec"]["serveConfigV2"]
    serve = Serve(host="0.0.0.0", port=8000, num_gpus=1, replicas=(1, 8), labels={"mixray/role": "student"})
    assert text == deploy.as_yaml({"student": "/models/student"}, serve)
    schema = ServeDeploySchema.model_validate(yaml.safe_load(text))
    assert schema.applications[0].import_path == deploy.IMPORT_PATH


# The head, and the nodes


@pytest.mark.parametrize("name", [*LAUNCHER, *KUBERAY])
def test_the_head_does_no_work_and_nothing_else_is_up_before_it_is_asked_for(name: str) -> None:
    cluster = read_cluster(FOLDER / name)
    assert dict(cluster.head.resources) == {"CPU": 0, "GPU": 0}
    kinds = document(name)["available_node_types"].values() if name in LAUNCHER else spec_of(name)["workerGroupSpecs"]
    assert all(kind.get("min_workers", kind.get("minReplicas")) == 0 for kind in kinds)
    assert all(kind.labels["mixray/role"] in ("worker", "teacher", "student") for kind in cluster.workers)


@pytest.mark.parametrize("name", [*LAUNCHER, "kuberay/raycluster.yaml"])
def test_spot_machines_come_first_and_the_same_ones_stand_behind_them(name: str) -> None:
    kinds = {kind.name: kind for kind in read_cluster(FOLDER / name).workers}
    for role in ("teacher", "student"):
        spot, listed = kinds[f"{role}-spot"], kinds[role]
        assert spot.priority > listed.priority
        assert spot.resources == listed.resources
        assert spot.labels["ray.io/accelerator-type"] == listed.labels["ray.io/accelerator-type"]
        assert (spot.labels["ray.io/market-type"], listed.labels["ray.io/market-type"]) == ("spot", "on-demand")
        assert spot.per_hour is not None
        assert listed.per_hour is not None
        assert spot.per_hour < listed.per_hour


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_ask_for_what_they_may_take_and_are_looked_after(name: str) -> None:
    spec = spec_of(name)
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        container = pod["containers"][0]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {"livenessProbe", "readinessProbe"} <= container.keys()
        if "nvidia.com/gpu" in container["resources"]["limits"]:
            assert any(toleration["key"] == "nvidia.com/gpu" for toleration in pod["tolerations"])
            assert "cloud.google.com/gke-accelerator" in pod["nodeSelector"]


def test_no_client_is_sent_to_a_pod_whose_students_still_load() -> None:
    for group in spec_of("kuberay/rayservice.yaml")["workerGroupSpecs"]:
        container = group["template"]["spec"]["containers"][0]
        assert "localhost:8000/-/healthz" in container["readinessProbe"]["exec"]["command"][-1]
        assert "8000" not in container["livenessProbe"]["exec"]["command"][-1], "a pod that loads is not to be ended for it"


@pytest.mark.parametrize("name", [*LAUNCHER, *KUBERAY])
def test_every_node_has_a_price_and_the_prices_a_currency_and_a_place(name: str) -> None:
    cluster = read_cluster(FOLDER / name)
    assert all(kind.per_hour for kind in (cluster.head, *cluster.workers))
    assert cluster.currency == "USD"
    assert re.search(r"list prices of \S+ as known in 2025.*check yours", cluster.prices)


# Who gets in


def test_every_file_is_of_a_kind_that_somebody_has_thought_about() -> None:
    assert {*LAUNCHER, *KUBERAY, BASE, *DASHBOARDS} == set(FILES)


@pytest.mark.parametrize("name", [*LAUNCHER, *KUBERAY, BASE])
def test_nobody_gets_in(name: str) -> None:
    assert [way for one in documents(name) for way in exposed(one)] == []


def test_there_is_a_network_policy_where_the_pods_are() -> None:
    (policy,) = (one for one in documents(BASE) if one["kind"] == "NetworkPolicy")
    (namespace,) = (one["metadata"]["name"] for one in documents(BASE) if one["kind"] == "Namespace")
    assert {policy["metadata"]["namespace"], *(document(name)["metadata"]["namespace"] for name in KUBERAY)} == {namespace}


def put(config: Any, path: str, value: Any) -> None:
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(" ")]
    for part in parents:
        config = config[part]
    if value is None:
        del config[last]
    else:
        config[last] = value


START = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/home/ray/.ray/auth_token ray start --head"


@pytest.mark.parametrize(
    ("name", "path", "value", "told"),
    [
        ("aws.yaml", "provider use_internal_ips", False, "public addresses"),
        ("aws.yaml", "provider security_group", {"IpPermissions": [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}, "lets everybody in"),
        ("aws.yaml", "available_node_types student node_config SecurityGroupIds", None, "student: Ray makes its security group"),
        ("aws.yaml", "available_node_types head node_config SubnetIds", None, "head: it is in any subnet"),
        ("aws.yaml", "available_node_types head node_config MetadataOptions", {}, "forwarded request"),
        ("aws.yaml", "head_start_ray_commands 1", "ray start --head --dashboard-host=127.0.0.1", "head: no token is wanted"),
        ("aws.yaml", "head_start_ray_commands 1", f"{START} --dashboard-host=0.0.0.0", "head: it listens on every address"),
        ("aws.yaml", "head_start_ray_commands 1", START, "not on loopback"),
        ("aws.yaml", "worker_start_ray_commands 1", "ray start --address=$RAY_HEAD_IP:6379", "worker: no token is wanted"),
        ("aws.yaml", "worker_start_ray_commands", [], "worker: Ray's own commands"),
        ("aws.yaml", "file_mounts", {}, "its token is not among the file mounts"),
        ("aws.yaml", "head_start_ray_commands 0", "export RAY_AUTH_TOKEN=abc", "looks like a secret"),
        ("gcp.yaml", "provider use_internal_ips", None, "public addresses"),
        ("gcp.yaml", "available_node_types teacher node_config networkInterfaces 0 accessConfigs", [{}], "teacher: it has an external"),
        ("gcp.yaml", "available_node_types teacher node_config networkInterfaces", None, "teacher: Ray gives it an external address"),
        ("kuberay/raycluster.yaml", "spec authOptions mode", "disabled", "no token is wanted"),
        ("kuberay/raycluster.yaml", "spec authOptions", None, "no token is wanted"),
        (
            "kuberay/raycluster.yaml", "spec headGroupSpec template spec containers 0 env",
            [{"name": "RAY_AUTH_MODE", "value": "disabled"}], "RAY_AUTH_MODE is disabled",
        ),
        ("aws.yaml", "docker run_options", ["-e RAY_AUTH_MODE=disabled"], "RAY_AUTH_MODE is disabled"),
        ("gcp.yaml", "worker_start_ray_commands 1", f"{START}; RAY_AUTH_MODE=disabled ray start", "RAY_AUTH_MODE is disabled"),
        ("aws.yaml", "head_start_ray_commands 1", f"{START} --dashboard-host=127.0.0.1 --node-ip-address=::", "listens on every address"),
        ("kuberay/raycluster.yaml", "spec headGroupSpec serviceType", "LoadBalancer", "head's service is open"),
        ("kuberay/raycluster.yaml", "spec headGroupSpec enableIngress", True, "ingress"),
        ("kuberay/raycluster.yaml", "spec workerGroupSpecs 1 template spec hostNetwork", True, "teacher-spot: its pods are on the"),
        ("kuberay/raycluster.yaml", "spec workerGroupSpecs 0 template metadata labels", {}, "worker: the network policy does not select"),
        ("kuberay/raycluster.yaml", "spec headGroupSpec template spec securityContext", {}, "head: its pods may run as root"),
        ("kuberay/raycluster.yaml", "spec workerGroupSpecs 0 template spec containers 0 securityContext privileged", True, "more rights"),
        ("kuberay/rayjob.yaml", "spec rayClusterSpec authOptions", None, "no token is wanted"),
        ("kuberay/rayjob.yaml", "spec submitterPodTemplate metadata labels", {}, "submitter: the network policy"),
        ("kuberay/rayservice.yaml", "spec serveService spec type", "LoadBalancer", "endpoint's service is open"),
        ("kuberay/rayservice.yaml", "spec serveService spec externalIPs", ["203.0.113.1"], "endpoint's service is open"),
        ("kuberay/rayservice.yaml", "spec rayClusterConfig authOptions", None, "no token is wanted"),
        (
            "kuberay/rayservice.yaml", "spec rayClusterConfig workerGroupSpecs 0 template spec containers 0 env 0",
            {"name": "MIXRAY_API_KEY", "value": "x"}, "student: the endpoint has no key from a secret",
        ),
        ("kuberay/base.yaml", "spec ingress 0", {}, "whoever has an address"),
        ("kuberay/base.yaml", "spec ingress 1 ports", [], "every port to others"),
        ("kuberay/base.yaml", "spec ingress 2 from 0", {"ipBlock": {"cidr": "0.0.0.0/0"}}, "whoever has an address"),
        ("kuberay/base.yaml", "spec policyTypes", ["Egress"], "nobody who comes in"),
        ("kuberay/base.yaml", "kind", "Ingress", "nobody knows how a Ingress is reached"),
    ],
)  # fmt: skip
def test_a_way_in_is_found(name: str, path: str, value: Any, told: str) -> None:
    config = copy.deepcopy(documents(name)[-1])
    put(config, path, value)
    assert any(told in way for way in exposed(config)), exposed(config)


def test_the_cluster_on_this_machine_is_for_this_machine() -> None:
    script = (FOLDER / "local.sh").read_text()
    assert "RAY_AUTH_MODE=token" in script
    assert "--dashboard-host=127.0.0.1" in script
    assert "0.0.0.0" not in script


# The image


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


# The words


def test_the_readme_names_files_that_are_there_and_places_the_files_have() -> None:
    text = (FOLDER / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert not [link for link in links if not (FOLDER / link).exists()]
    assert not [path for path in re.findall(r"\bcluster/[\w./-]+\.(?:yaml|sh)\b", text) if not (ROOT / path).is_file()]
