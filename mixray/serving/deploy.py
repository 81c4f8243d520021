"""The same endpoint by Ray Serve's own means: what `serve deploy` and KubeRay's RayService (`serveConfigV2`) take.

In: students by name and the recipe's `serve` part. Out: a configuration whose `import_path` is `application` here and whose `args` hold
everything but keys: those come from MIXRAY_API_KEY, or from a file mounted where serve.keys_file says, on the cluster. HTTP comes
through Serve's proxy there, which the cluster's service and its health checks expect. They reach it from outside its pod, so it listens
on all of a pod's addresses where nobody names a host; the application does not start without keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from mixray.errors import ServingError
from mixray.models import resolve
from mixray.recipe import Serve
from mixray.recipe_file import parse_part
from mixray.serving.app import APP_NAME, build
from mixray.serving.keys import KEY_VARIABLE, SHORTEST_OPEN_KEY, Keys, load_keys, refuse_short
from mixray.session import WORKER_ENVIRONMENT

if TYPE_CHECKING:
    from ray.serve.deployment import Application

IMPORT_PATH = "mixray.serving.deploy:application"
HEADER = f"""\
# For `serve deploy FILE`, or as serveConfigV2 of a KubeRay RayService. mixray, and the models below, must be on every node;
# keys come from {KEY_VARIABLE} in the environment of the cluster's nodes, or from the file serve.keys_file names there.
"""
EVERYWHERE = "0.0.0.0"
# What is said elsewhere in the file.
NOT_IN_ARGS = {"host", "port", "tls_cert", "tls_key", "students_at_once"}


def configuration(models: Mapping[str, str], serve: Serve) -> dict[str, Any]:
    """Return what `ray.serve.schema.ServeDeploySchema` reads."""
    http: dict[str, Any] = {"host": serve.host if "host" in serve.model_fields_set else EVERYWHERE, "port": serve.port}
    if serve.tls_cert:
        http |= {"ssl_certfile": serve.tls_cert, "ssl_keyfile": serve.tls_key}
    application = {
        "name": APP_NAME,
        "route_prefix": "/",
        "import_path": IMPORT_PATH,
        "runtime_env": {"env_vars": dict(WORKER_ENVIRONMENT)},
        "args": {"models": dict(models), "serve": serve.model_dump(mode="json", exclude=NOT_IN_ARGS, exclude_defaults=True)},
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": http,
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [application],
    }


def as_yaml(models: Mapping[str, str], serve: Serve) -> str:
    """Return the file's text."""
    return HEADER + yaml.safe_dump(configuration(models, serve), sort_keys=False)


def application(args: dict[str, Any]) -> Application:
    """Build the application of a configuration, on the cluster.

    Raises:
        ServingError: the cluster has no key, or one that is too short.
        RecipeError: the settings are wrong.
        MixrayError: a model is missing or unsafe.
    """
    serve = parse_part(Serve, args.get("serve") or {})
    keys = load_keys(serve.keys_file)
    if not keys:
        raise ServingError(
            "The cluster has no key for its clients",
            seen=f"neither {KEY_VARIABLE} nor serve.keys_file",
            do=f"set {KEY_VARIABLE} from a secret in the environment of the nodes, or mount a file and name it in serve.keys_file",
        )
    refuse_short(keys, SHORTEST_OPEN_KEY)
    return build({name: resolve(str(model)) for name, model in args["models"].items()}, serve, Keys.of(keys))
