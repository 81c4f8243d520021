"""What would let strangers into a cluster, looked for in its parsed files: `exposed(document)` tells each in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

EVERYWHERE = ("0.0.0.0", "::/0", "=::")
PRIVATE_SERVICES = (None, "ClusterIP")
OWN_PODS = ("app.kubernetes.io/part-of", "mixray")
SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|aws_secret|RAY_AUTH_TOKEN=|sk-[A-Za-z0-9]{20}|hf_[A-Za-z0-9]{20}")
AUTH_MODE = re.compile(r"RAY_AUTH_MODE[^a-z]+(?:value[^a-z]+)?([a-z]+)")
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")


def exposed(document: dict[str, Any]) -> list[str]:
    """Return every way in; a document of a kind that nobody has thought about is one."""
    rules = {
        "Namespace": _nothing, "ServiceAccount": _nothing, "NetworkPolicy": _policy, "RayCluster": _ray_cluster, "RayJob": _ray_job,
        "RayService": _ray_service,
    }  # fmt: skip
    found = [f"it holds what looks like a secret: {match}" for match in SECRET.findall(json.dumps(document))]
    found += [f"RAY_AUTH_MODE is {mode}" for mode in AUTH_MODE.findall(json.dumps(document)) if mode != "token"]
    if "available_node_types" in document:
        return [*found, *_launcher(document)]
    kind = document.get("kind", "")
    return [*found, *(rules[kind](document) if kind in rules else [f"nobody knows how a {kind or 'file like this'} is reached"])]


def _nothing(document: dict[str, Any]) -> Iterator[str]:
    yield from ()


def _launcher(document: dict[str, Any]) -> Iterator[str]:
    provider = document["provider"]
    if provider.get("use_internal_ips") is not True:
        yield "its nodes have public addresses"
    if any(word in json.dumps(provider.get("security_group", {})) for word in EVERYWHERE):
        yield "its security group lets everybody in"
    for name, kind in document["available_node_types"].items():
        yield from (f"{name}: {what}" for what in _machine(provider["type"], kind["node_config"]))
    mounts = document.get("file_mounts") or {}
    for part in ("head", "worker"):
        starts = [command for command in document[f"{part}_start_ray_commands"] if "ray start" in command]
        if not starts:
            yield f"{part}: Ray's own commands start it, on every address"
        for command in starts:
            yield from (f"{part}: {what}" for what in _start(command, mounts))
        if part == "head" and not all("--dashboard-host=127.0.0.1" in command for command in starts):
            yield "head: the dashboard, where jobs are submitted, is not on loopback"


def _machine(provider: str, node: dict[str, Any]) -> Iterator[str]:
    if provider == "aws":
        if not node.get("SecurityGroupIds"):
            yield "Ray makes its security group, which lets everybody at port 22"
        if not node.get("SubnetIds"):
            yield "it is in any subnet"
        if any(interface.get("AssociatePublicIpAddress") for interface in node.get("NetworkInterfaces", [])):
            yield "it has a public address"
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield "its role can be had through a forwarded request"
    elif provider == "gcp":
        if not node.get("networkInterfaces"):
            yield "Ray gives it an external address"
        if any("accessConfigs" in interface for interface in node.get("networkInterfaces", [])):
            yield "it has an external address"
    else:
        yield f"nobody knows how machines of {provider} are reached"


def _start(command: str, mounts: dict[str, str]) -> Iterator[str]:
    if "RAY_AUTH_MODE=token" not in command:
        yield "no token is wanted"
    path = re.search(r"RAY_AUTH_TOKEN_PATH=(\S+)", command)
    if path is None or path.group(1) not in mounts:
        yield "its token is not among the file mounts"
    if any(word in command for word in EVERYWHERE):
        yield "it listens on every address"


def _ray_cluster(document: dict[str, Any]) -> Iterator[str]:
    yield from _cluster_spec(document["spec"])


def _ray_job(document: dict[str, Any]) -> Iterator[str]:
    yield from _cluster_spec(document["spec"]["rayClusterSpec"])
    yield from (f"submitter: {what}" for what in _pod(document["spec"]["submitterPodTemplate"]))


def _ray_service(document: dict[str, Any]) -> Iterator[str]:
    spec = document["spec"]
    yield from _cluster_spec(spec["rayClusterConfig"])
    service = spec.get("serveService", {}).get("spec", {})
    if service.get("type") not in PRIVATE_SERVICES or service.get("externalIPs"):
        yield "the endpoint's service is open to the outside"
    if yaml.safe_load(spec["serveConfigV2"]).get("http_options", {}).get("host") not in ("0.0.0.0", "127.0.0.1"):
        yield "nobody knows where the endpoint listens"
    config = spec["rayClusterConfig"]
    for group in (config["headGroupSpec"], *config["workerGroupSpecs"]):
        environment = {entry["name"]: entry for entry in group["template"]["spec"]["containers"][0].get("env", [])}
        if "secretKeyRef" not in environment.get("MIXRAY_API_KEY", {}).get("valueFrom", {}):
            yield f"{group.get('groupName', 'head')}: the endpoint has no key from a secret"


def _cluster_spec(spec: dict[str, Any]) -> Iterator[str]:
    if spec.get("authOptions", {}).get("mode") != "token":
        yield "no token is wanted"
    head = spec["headGroupSpec"]
    services = (head.get("serviceType"), head.get("headService", {}).get("spec", {}).get("type"))
    if any(service not in PRIVATE_SERVICES for service in services):
        yield "the head's service is open to the outside"
    if head.get("enableIngress"):
        yield "the head has an ingress"
    for group in (head, *spec.get("workerGroupSpecs", [])):
        yield from (f"{group.get('groupName', 'head')}: {what}" for what in _pod(group["template"]))


def _pod(template: dict[str, Any]) -> Iterator[str]:
    key, value = OWN_PODS
    if template.get("metadata", {}).get("labels", {}).get(key) != value:
        yield "the network policy does not select its pods"
    pod = template["spec"]
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "its pods are on the machine's own network"
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield "its pods may run as root"
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        if any("hostPort" in port for port in container.get("ports", [])):
            yield "a port of its machine is its own"
        rights = container.get("securityContext", {})
        if (
            rights.get("privileged")
            or rights.get("allowPrivilegeEscalation") is not False
            or rights.get("capabilities") != {"drop": ["ALL"]}
        ):
            yield "a container can get more rights than it needs"
        for entry in container.get("env", []):
            if SECRET_NAME.search(entry["name"]) and "value" in entry:
                yield f"{entry['name']} stands in the file"


def _policy(document: dict[str, Any]) -> Iterator[str]:
    spec = document["spec"]
    if "Ingress" not in spec.get("policyTypes", []):
        yield "the policy is about nobody who comes in"
    if spec["podSelector"].get("matchLabels") != dict([OWN_PODS]):
        yield "the policy selects other pods"
    for rule in spec.get("ingress", []):
        sources = rule.get("from", [])
        if not sources or any("ipBlock" in source for source in sources):
            yield "the policy lets in whoever has an address"
        own = all(source.get("podSelector", {}).get("matchLabels") == dict([OWN_PODS]) for source in sources)
        if not own and not rule.get("ports"):
            yield "the policy opens every port to others"
        if any(not source.get("podSelector") and not source.get("namespaceSelector") for source in sources):
            yield "the policy lets in every pod there is"
