"""The Serve application: one `ray.serve.llm` deployment per student and one gated ingress before them.

In: model folders (or hub ids) by arm name, the recipe's `serve` part, the key's digest. Out: an application for `serve.run`.
Nothing here starts anything; importing it is cheap, building it imports vLLM.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixray import recipe
from mixray.engine import CPU_ARGUMENTS
from mixray.serving.gate import Gate, answer_malformed

if TYPE_CHECKING:
    from ray.serve.deployment import Application
    from ray.serve.llm import LLMConfig

APP_NAME = "mixray"
# A reservation, not a limit: four students and the rest of a run must fit a machine of two cores declared as four.
CPU_SHARE = 0.5
MAX_SEQUENCES = 64
# Beyond these a request is turned away with 503 and asked again by a client that knows how.
MAX_ONGOING_REQUESTS = 512
MAX_QUEUED_REQUESTS = 512
GPU_MEMORY_SHARE = 0.9
# The client's own time limit decides; Serve's must not be the shorter one.
ROUTER_SECONDS = 24 * 3600


def build(models: Mapping[str, str], serve: recipe.Serve, digest: bytes) -> Application:
    """Return the application that serves `models` (arm name to folder or hub id)."""
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from ray import serve as ray_serve
    from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
    from ray.llm._internal.serve.core.ingress.ingress import DEFAULT_ENDPOINTS
    from ray.llm._internal.serve.core.ingress.middleware import SetRequestIdMiddleware, add_exception_handling_middleware
    from ray.serve.llm import build_llm_deployment
    from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress

    configs = {arm: student_config(arm, source, serve, len(models)) for arm, source in models.items()}
    app = FastAPI(openapi_url=None)
    add_exception_handling_middleware(app)
    app.add_exception_handler(RequestValidationError, answer_malformed)
    app.add_middleware(SetRequestIdMiddleware)
    app.add_middleware(Gate, digest=digest)  # the last one added is the first one asked
    routes = {name: DEFAULT_ENDPOINTS[name] for name in ("models", "chat", "completions")}
    ingress = make_fastapi_ingress(OpenAiIngress, endpoint_map=routes, app=app)
    options = {
        "num_replicas": 1,
        "max_ongoing_requests": MAX_ONGOING_REQUESTS,
        "max_queued_requests": MAX_QUEUED_REQUESTS,
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": {"RAY_SERVE_LLM_ROUTER_HTTP_TIMEOUT": str(ROUTER_SECONDS)}}},
    }
    return ray_serve.deployment(ingress, **options).bind(
        llm_deployments={arm: build_llm_deployment(config) for arm, config in configs.items()},
        model_cards={arm: to_model_metadata(arm, config) for arm, config in configs.items()},
    )


def student_config(arm: str, source: str, serve: recipe.Serve, num_students: int) -> LLMConfig:
    """Return what `ray.serve.llm` needs to know of one student."""
    from ray.serve.llm import LLMConfig

    hardware = _gpu(serve) if serve.num_gpus else _cpu(serve.threads, num_students)
    engine: dict[str, Any] = {"max_num_seqs": MAX_SEQUENCES, "disable_log_stats": True, **hardware.pop("engine_kwargs")}
    if serve.max_model_len is not None:
        engine["max_model_len"] = serve.max_model_len
    if serve.kv_cache_bytes is not None:
        engine["kv_cache_memory_bytes"] = serve.kv_cache_bytes
    return LLMConfig(
        model_loading_config={"model_id": arm, "model_source": source},
        engine_kwargs={**engine, **serve.engine, "trust_remote_code": False},
        deployment_config={
            "num_replicas": 1,
            "max_constructor_retry_count": 1,  # what cannot be loaded once cannot be loaded twice, and each try is slow
            "max_ongoing_requests": MAX_ONGOING_REQUESTS,
            "max_queued_requests": MAX_QUEUED_REQUESTS,
            "ray_actor_options": {"num_cpus": 0},
            "graceful_shutdown_timeout_s": 5,
            "graceful_shutdown_wait_loop_s": 0.5,
        },
        log_engine_metrics=False,
        **hardware,
    )


def _cpu(threads: int | None, num_students: int) -> dict[str, Any]:
    from mixray.serving.engine import StudentServer

    threads = threads or max(1, (os.cpu_count() or 1) // num_students)
    return {
        "accelerator_config": {"kind": "cpu"},
        "placement_group_config": {"bundles": [{"CPU": CPU_SHARE}]},
        "server_cls": StudentServer,
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}},
        "engine_kwargs": dict(CPU_ARGUMENTS),
    }


def _gpu(serve: recipe.Serve) -> dict[str, Any]:
    if serve.num_gpus < 1:
        workers, share = 1, serve.num_gpus
    else:
        workers, share = int(serve.num_gpus), 1
    from mixray.serving.pace import PacedServer

    return {
        "accelerator_config": {"kind": "gpu"},
        "server_cls": PacedServer,
        "placement_group_config": {"bundle_per_worker": {"CPU": CPU_SHARE, "GPU": share}},
        "engine_kwargs": {"tensor_parallel_size": workers, "gpu_memory_utilization": GPU_MEMORY_SHARE * share},
    }
