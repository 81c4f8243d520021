"""Every file in cluster/, offline: Ray's, KubeRay's and Kubernetes' own schemas, and the nodes they describe."""

from __future__ import annotations

import copy
import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_files import BASE, FOLDER, KUBERAY, LAUNCHER, ROOT, document, documents, spec_of

from mixray.clusters import read_cluster
from mixray.recipe import Serve
from mixray.serving import deploy

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


# The words


def test_the_readme_names_files_that_are_there_and_places_the_files_have() -> None:
    text = (FOLDER / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert not [link for link in links if not (FOLDER / link).exists()]
    assert not [path for path in re.findall(r"\bcluster/[\w./-]+\.(?:yaml|sh)\b", text) if not (ROOT / path).is_file()]
