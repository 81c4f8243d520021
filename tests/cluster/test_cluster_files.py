"""Every file in cluster/, offline: Ray's, KubeRay's and Kubernetes' own schemas, and the nodes they describe."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_files import BASE, FOLDER, KUBERAY, LAUNCHER, ROOT, document, documents, spec_of

from mixray.clusters import fitted, read_cluster, stages_to_come
from mixray.graph import build_graph
from mixray.recipe import Serve, Train
from mixray.recipe_file import load_recipe
from mixray.serving import deploy
from mixray.store import Store

SCHEMAS = Path(os.environ.get("KUBERAY_SCHEMAS", ROOT.parent / "shared" / "kuberay"))

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


def accounts(name: str) -> dict[str, Any]:
    """Return as whom each node type's machines run, by what Ray makes of the file: a head's own words stand over those Ray has for it."""
    rays_own = {"serviceAccounts": [{"email": "ray-autoscaler-sa-v1"}], "IamInstanceProfile": {"Name": "ray-autoscaler-v1"}}
    config = document(name)
    kinds = {kind: dict(entry["node_config"]) for kind, entry in config["available_node_types"].items()}
    kinds[config["head_node_type"]] = rays_own | kinds[config["head_node_type"]]
    if config["provider"]["type"] == "gcp":
        return {kind: node["serviceAccounts"][0]["email"].partition("@")[0] for kind, node in kinds.items()}
    return {kind: node["IamInstanceProfile"]["Name"] for kind, node in kinds.items()}


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_head_alone_may_start_machines(name: str) -> None:
    found = accounts(name)
    assert found.pop("head") == "mixray-head"
    assert set(found.values()) == {"mixray-node"}
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{account}`" in readme for account in ("mixray-head", "mixray-node"))


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


@pytest.mark.parametrize("name", LAUNCHER)
@pytest.mark.parametrize("part", ["head", "worker"])
def test_nodes_have_the_variables_of_a_file_where_there_is_one(name: str, part: str, tmp_path: Path) -> None:
    (command,) = (each for each in document(name)[f"{part}_start_ray_commands"] if "ray start" in each)
    (mounted,) = (target for target, source in document(name)["file_mounts"].items() if source == "~/.ray/env")
    (tmp_path / "ray").write_text('#!/bin/sh\necho "$HF_TOKEN/$RAY_AUTH_MODE"\n')
    (tmp_path / "ray").chmod(0o755)
    command = command.replace(mounted, str(tmp_path / "env")).replace("ulimit -n 65536", "true")
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    for text, told in ((None, "/token"), ("HF_TOKEN='made up'\nRAY_AUTH_MODE=disabled\n", "made up/token")):
        if text is not None:
            (tmp_path / "env").write_text(text)
        out = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
        assert out.stdout == f"{told}\n"


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


@pytest.mark.parametrize("name", KUBERAY)
def test_what_is_not_of_a_spot_group_keeps_off_spot_nodes(name: str) -> None:
    spec = spec_of(name)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        if group["labels"].get("ray.io/market-type") == "spot":
            assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
            assert "affinity" not in pod
        else:
            keeps_off_spot(pod)


def test_the_pod_that_submits_a_job_keeps_off_spot_nodes() -> None:
    keeps_off_spot(document("kuberay/rayjob.yaml")["spec"]["submitterPodTemplate"]["spec"])


def keeps_off_spot(pod: dict[str, Any]) -> None:
    wanted = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert wanted == [{"matchExpressions": [{"key": "cloud.google.com/gke-spot", "operator": "NotIn", "values": ["true"]}]}]


def test_pods_without_a_spot_machine_are_given_up_before_a_training_is() -> None:
    """Ray reads its own name for it, and a node at the list price has as long again to come up."""
    environment = {entry["name"]: entry["value"] for entry in spec_of("kuberay/raycluster.yaml")["autoscalerOptions"]["env"]}
    told = "from ray.autoscaler.v2.instance_manager.config import InstanceReconcileConfig as C; print(C().allocate_status_timeout_s)"
    out = subprocess.run([sys.executable, "-c", told], env=os.environ | environment, capture_output=True, text=True, check=True).stdout
    assert int(out) <= Train().node_wait_minutes * 60 / 2


GI = 2**30


def in_bytes(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi")) * GI


@pytest.mark.parametrize("name", KUBERAY)
def test_shared_memory_holds_rays_object_store(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services, utils

    spec = spec_of(name)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        memory = in_bytes(pod["containers"][0]["resources"]["limits"]["memory"])
        (shm,) = (volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "shm")
        size = min(memory, in_bytes(shm))
        monkeypatch.setattr(utils, "get_shared_memory_bytes", lambda size=size: size)
        monkeypatch.setattr("ray._common.utils.get_system_memory", lambda memory=memory: memory)
        given = group["rayStartParams"].get("object-store-memory")
        store = utils.resolve_object_store_memory(memory, int(given) if given else None)
        assert services.determine_plasma_store_config(store, str(tmp_path))[0] == "/dev/shm"
        assert size - store >= 2 * 10**9, "NCCL and vLLM have nothing left"


def pools(readme: str) -> dict[str, int]:
    """Return the boot disk of each group's pool, in GB, as the README's table has them."""
    rows = re.findall(r"^\| ([a-z, -]+) \| `.*? \| (\d+) GB \|", readme, re.MULTILINE)
    return {group: int(size) for groups, size in rows for group in groups.split(", ")}


@pytest.mark.parametrize("name", KUBERAY)
def test_boot_disks_hold_what_pods_ask_for(name: str) -> None:
    """Of a boot disk GKE keeps the smallest of half of it, 6 GB and 35 % of it, and 100 GB; and a tenth for evictions."""
    disks = pools((FOLDER / "README.md").read_text())
    spec = spec_of(name)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        asked = in_bytes(group["template"]["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"])
        disk = disks[group.get("groupName", "head")]
        left = disk - min(disk / 2, 6 + 0.35 * disk, 100) - disk / 10
        assert asked <= left * 10**9


def test_the_operator_may_ask_whoever_installed_it() -> None:
    (policy,) = (one for one in documents(BASE) if one["kind"] == "NetworkPolicy")
    named = [
        each["values"]
        for rule in policy["spec"]["ingress"]
        for source in rule["from"]
        for each in source.get("podSelector", {}).get("matchExpressions", [])
    ]
    assert named == [["kuberay-operator", "kuberay"]], "Helm's name for it, and the kustomization's"


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


# The words


def test_the_readmes_way_off_spot_machines_leads_off_them(tmp_path: Path) -> None:
    switches = re.findall(r"--set '([^']+on-demand[^']+)'", (FOLDER / "README.md").read_text())
    assert switches
    for switch in switches:
        recipe = load_recipe("tiny", [switch, "teachers.long.num_gpus=4"])
        stages = {stage.stage: stage for stage in stages_to_come(recipe, build_graph(recipe, Store(str(tmp_path))))}
        for name in LAUNCHER:
            assert fitted(stages["teacher long"], read_cluster(FOLDER / name)).nodes == {"worker": 1, "teacher": 1}


def test_the_readme_names_files_that_are_there_and_places_the_files_have() -> None:
    text = (FOLDER / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert not [link for link in links if not (FOLDER / link).exists()]
    assert not [path for path in re.findall(r"\bcluster/[\w./-]+\.(?:yaml|sh)\b", text) if not (ROOT / path).is_file()]
