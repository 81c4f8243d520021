"""The Serve application: one `ray.serve.llm` deployment per student, or per base with adapters, and the gate before them.

In: model folders (or hub ids) by arm name, the recipe's `serve` part, the digests of the keys. Out: an application for `serve.run`.
Nothing here starts anything; importing it is cheap, building it imports vLLM.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixray import recipe
from mixray.chat import dated_template
from mixray.copies import origins
from mixray.engine import STUDENT_CPU_SHARE, student_arguments
from mixray.errors import MixrayError
from mixray.models import resolve
from mixray.placement import selector
from mixray.serving.adapters import Group, groups
from mixray.serving.keys import Keys

if TYPE_CHECKING:
    from ray.serve.deployment import Application
    from ray.serve.llm import LLMConfig

    from mixray.serving.door import Door

APP_NAME = "mixray"
# The gate alone turns requests away: it answers at once and says when to come back.
NO_LIMIT = 1_000_000
# vLLM compiles the counting of ranks when somebody first asks for logprobs: on CPU the engine stood still for most of a minute.
CPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCHDYNAMO_DISABLE": "1"}
HEALTH_CHECK_SECONDS = 5
# A replica that autoscaling takes away finishes its answers first. When all is taken down the gate goes, and nobody waits for them.
END_SECONDS, DRAIN_SECONDS = 5, 600
METRICS_SECONDS, LOOK_BACK_SECONDS = 1, 3


def build(models: Mapping[str, str], serve: recipe.Serve, keys: Keys, door: Door | None = None, node: str | None = None) -> Application:
    """Return the application that serves `models` (arm name to folder or hub id).

    Args:
        models: by name.
        serve: the recipe's part.
        keys: who may ask.
        door: where the gate listens itself; behind Serve's proxy where None.
        node: the resource of the node that must hold the gate; any node where None.
    """
    from ray import serve as ray_serve
    from ray.serve.llm import build_llm_deployment

    from mixray.serving.front import Front

    engines = groups(models, serve)
    fetched = origins(models.values())
    pinned = {"resources": {node: 0.001}} if node else {}
    students: dict[str, Application] = {}
    for group in engines:
        config = student_config(group, serve, len(engines))
        students |= dict.fromkeys(group.names, build_llm_deployment(config, bind_kwargs={"adapters": group.adapters, "fetched": fetched}))
    ingress = ray_serve.ingress()(Front)
    options = {
        "name": "gate",
        "num_replicas": serve.ingress_replicas,
        "max_ongoing_requests": NO_LIMIT,
        "health_check_period_s": HEALTH_CHECK_SECONDS,
        "graceful_shutdown_timeout_s": END_SECONDS,
        "graceful_shutdown_wait_loop_s": 0.5,
        "ray_actor_options": {"num_cpus": 0, **pinned},
    }
    ordered = {name: students[name] for name in models}
    return ray_serve.deployment(ingress, **options).bind(students=ordered, serve=serve, keys=keys, door=door)


def student_config(group: Group, serve: recipe.Serve, num_engines: int) -> LLMConfig:
    """Return what `ray.serve.llm` needs to know of one student, or of several that share an engine."""
    from ray.serve.llm import LLMConfig

    hardware = _gpu(serve) if serve.num_gpus else _cpu(serve.threads, num_engines)
    further: dict[str, Any] = _day(group)
    if group.adapters:
        further |= {"enable_lora": True, "max_loras": len(group.adapters), "max_lora_rank": group.max_rank}
        further |= {"tokenizer": group.tokenizer, "generation_config": group.tokenizer}
    return LLMConfig(
        model_loading_config={"model_id": group.name, "model_source": group.source},
        engine_kwargs=student_arguments(serve, further),
        deployment_config={
            **replica_settings(serve),
            **_bundle_labels(serve),
            "max_constructor_retry_count": 1,  # what cannot be loaded once cannot be loaded twice, and each try is slow
            "max_ongoing_requests": NO_LIMIT,
            "health_check_period_s": HEALTH_CHECK_SECONDS,
            "ray_actor_options": {"num_cpus": 0},
            "graceful_shutdown_wait_loop_s": 0.5,
        },
        log_engine_metrics=False,
        **hardware,
    )


def _day(group: Group) -> dict[str, str]:
    """Return the chat template of a student whose own prints the clock's day: its prompts are those of `chat`, on whatever day."""
    try:
        template = dated_template(resolve(group.tokenizer or group.source))
    except MixrayError:  # whoever starts the engine meets the same, and tells it
        return {}
    return {"chat_template": template} if template else {}


def replica_settings(serve: recipe.Serve) -> dict[str, Any]:
    """Return a fixed number of replicas, or targets that are met: those of `ray.serve.llm` itself never add one."""
    fewest, most = serve.replicas
    if fewest == most:
        return {"num_replicas": fewest, "graceful_shutdown_timeout_s": END_SECONDS}
    scaling: dict[str, Any] = {
        "min_replicas": fewest,
        "max_replicas": most,
        "initial_replicas": max(fewest, 1),  # what was never up cannot be proven
        "target_ongoing_requests": serve.target_ongoing_requests,
        "upscale_delay_s": serve.up_seconds,
        "downscale_delay_s": serve.idle_seconds,
        # Serve's own are 10 s and 30 s, on top of the two above.
        "metrics_interval_s": METRICS_SECONDS,
        "look_back_period_s": LOOK_BACK_SECONDS,
        "policy": {"policy_function": "mixray.serving.scaling:by_ongoing_requests"},
    }
    return {"autoscaling_config": scaling, "graceful_shutdown_timeout_s": DRAIN_SECONDS}


def _bundle_labels(serve: recipe.Serve) -> dict[str, Any]:
    """Return what sends every bundle of a student's placement group to the nodes the recipe names."""
    wanted = selector(serve)
    return {"placement_group_bundle_label_selector": [wanted]} if wanted else {}


def bundles(serve: recipe.Serve) -> list[dict[str, float]]:
    """Return what one replica of a student reserves: a bundle for each worker of its engine, on one node or on several."""
    if not serve.num_gpus:
        return [{"CPU": STUDENT_CPU_SHARE}]
    workers, share = (1, serve.num_gpus) if serve.num_gpus < 1 else (int(serve.num_gpus), 1)
    return [{"CPU": STUDENT_CPU_SHARE, "GPU": share}] * workers


def _cpu(threads: int | None, num_engines: int) -> dict[str, Any]:
    from mixray.serving.engine import StudentServer

    threads = threads or max(1, (os.cpu_count() or 1) // num_engines)
    return {
        "accelerator_config": {"kind": "cpu"},
        "placement_group_config": {"bundles": bundles(recipe.Serve())},
        "server_cls": StudentServer,
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads), **CPU_ENVIRONMENT}},
    }


def _gpu(serve: recipe.Serve) -> dict[str, Any]:
    from mixray.serving.student import AnsweringServer

    return {
        "accelerator_config": {"kind": "gpu"},
        "placement_group_config": {"bundle_per_worker": bundles(serve)[0]},
        "server_cls": AnsweringServer,
    }
