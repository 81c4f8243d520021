"""None of the files in cluster/ lacks authentication or lets strangers in, and a change that would is found."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from cluster_files import BASE, DASHBOARDS, FOLDER, KUBERAY, LAUNCHER, document, documents
from exposure import exposed

FILES = sorted(str(path.relative_to(FOLDER)) for pattern in ("*.yaml", "*.yml", "*.json") for path in FOLDER.rglob(pattern))


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
