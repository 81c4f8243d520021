"""A student's engine on CPU: vLLM with its core on a thread of the Serve replica instead of in two more processes.

In: Serve's LLM configuration. Out: the engine `ray.serve.llm` expects. Starting is mostly imports, so one process instead of three
starts in a third of the time and memory; and no engine process can outlive its replica, however the replica or the driver dies.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.network_utils import get_open_zmq_ipc_path
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.core import EngineCoreProc
from vllm.v1.engine.utils import EngineZmqAddresses
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from mixray.serving.student import AnsweringServer

# How long the thread that talks to clients may keep the engine waiting for the interpreter, each time it comes back from torch.
SWITCH_SECONDS = 0.0005


class ThreadCore(EngineCoreProc):
    """vLLM's engine core, told its addresses by the front end of the same process instead of by a handshake."""

    @contextlib.contextmanager
    def _perform_handshakes(
        self, handshake_address: EngineZmqAddresses, identity: bytes, local_client: bool, vllm_config: VllmConfig, client: None
    ) -> Iterator[EngineZmqAddresses]:
        yield handshake_address


def start_core(config: VllmConfig, addresses: EngineZmqAddresses) -> None:
    """Start an engine core on its own thread; return when the model is loaded, raise when it cannot be."""
    sys.setswitchinterval(SWITCH_SECONDS)
    ready = threading.Event()
    failure: list[BaseException] = []

    def live() -> None:
        # Loading and running happen on one thread: torch's number of threads is a setting of the thread.
        try:
            core = ThreadCore(config, True, addresses, UniProcExecutor, log_stats=False)
        except BaseException as error:  # every reason must reach the thread that waits
            failure.append(error)
            return
        finally:
            ready.set()
        try:
            core.run_busy_loop()
        except BaseException:  # the front end must learn that nobody answers any more; Serve then replaces the replica
            core._send_engine_dead()
            raise

    threading.Thread(target=live, daemon=True, name="engine-core").start()
    ready.wait()
    if failure:
        raise RuntimeError(f"The engine did not start: {failure[0]}") from failure[0]


class StudentEngine(VLLMEngine):
    """The engine of `ray.serve.llm` with its core on a thread; for one CPU worker."""

    async def start(self) -> None:
        """Start the engine; a model that lies in a folder is not looked for anywhere else."""
        source = self.llm_config.model_loading_config.model_source
        if Path(source).is_dir():
            self.llm_config.get_or_create_callback().ctx.run_init_node = False
        await super().start()

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        if self.llm_config.engine_kwargs.get("kv_cache_memory_bytes"):
            os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would win, and counts whole GiB
        return super()._prepare_engine_config(callback_ctx)

    def _start_async_llm_engine(self, args: AsyncEngineArgs, config: VllmConfig, placement_group: Any) -> AsyncLLM:
        config.parallel_config.distributed_executor_backend = "uni"
        addresses = EngineZmqAddresses(inputs=[get_open_zmq_ipc_path()], outputs=[get_open_zmq_ipc_path()])
        # The front end adds the core's cache sizes to its own configuration, so the two must not share one.
        start_core(copy.deepcopy(config), addresses)
        return AsyncLLM(
            vllm_config=config,
            executor_class=UniProcExecutor,
            log_requests=False,
            log_stats=False,
            client_addresses={"input_address": addresses.inputs[0], "output_address": addresses.outputs[0]},
        )


class StudentServer(AnsweringServer):
    """A replica that holds one student."""

    _default_engine_cls = StudentEngine
