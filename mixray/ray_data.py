"""Ray Data as every stage runs it: quiet, patient, and with errors that can be acted on; and what actors that hold a model need."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixray.errors import MixrayError
from mixray.placement import resources_of_nodes
from mixray.recipe import Placed

if TYPE_CHECKING:
    from ray.data import DataContext, Dataset

_CPUS_BESIDE_ACTORS = 2
_ACTOR_BYTES = 2 * 2**30  # what an actor computes with, and Python with its libraries
_UNKNOWN_BYTES = 16 * 2**30  # weights of a model on the hub, whose size nobody has told


def data_context(num_cpus: int) -> DataContext:
    """Return a context for one execution on so many CPUs; `DataContext.current` makes it hold."""
    from ray.data import DataContext, ExecutionResources

    context = DataContext.get_current().copy()
    context.execution_no_progress_timeout_s = -1
    # Each further process spends seconds on imports that the actors wait for; reading takes next to nothing.
    context.execution_options.resource_limits = ExecutionResources(cpu=num_cpus)
    # The newer way to read Parquet starts thirty-two actors for a file's footer, even of one small file: half a minute on two processors.
    context.use_datasource_v2 = False
    context.raise_original_map_exception = True  # Ray Data's own wrapper loses its cause on the way to the driver
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return context


def own_error(error: BaseException) -> MixrayError | None:
    """Return mixray's own error behind what Ray raised, where there is one."""
    from ray.exceptions import RayError

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MixrayError) and not isinstance(link, RayError):  # Ray's double of it tells where it was, not what
            return link
        link = getattr(link, "cause", None) or link.__cause__
    return None


def map_blocks(rows: Dataset, actor: type, arguments: tuple[Any, ...], compute: Any, **reserved: Any) -> Dataset:
    """Send blocks, as they are, through a pool of actors that reserve CPUs, GPUs and nodes by label.

    `map_batches` refuses whole blocks where actors have GPUs, since an unknown block may not fit one; given a size instead, it would join
    and cut blocks, which hold here what belongs together.
    """
    return rows.map_batches_internal(
        actor, batch_size=None, batch_format="pyarrow", fn_constructor_args=arguments, compute=compute, **reserved
    )


@contextlib.contextmanager
def in_order(num_actors: int) -> Iterator[None]:
    """Set Ray Data up for one execution with so many actors: blocks in order, quiet, and no limit on how long one may take."""
    from ray.data import DataContext

    context = data_context(num_actors + _CPUS_BESIDE_ACTORS)
    context.execution_options.preserve_order = True
    with DataContext.current(context):
        yield


def room_for_actors(source: str, num_gpus: float, models_each: int = 1, placed: Placed | None = None) -> int:
    """Return how many actors that hold a model the nodes that are up have room for; at least one.

    By GPUs where an actor takes some; else one per two CPUs, as far as the memory goes.

    Args:
        source: the model's folder or hub id.
        num_gpus: of one actor.
        models_each: how many models of this size an actor holds.
        placed: which nodes count; all where None.
    """
    resources: Counter[str] = Counter()
    for node in resources_of_nodes(placed or Placed()):
        resources.update(node)
    if num_gpus:
        return max(1, int(resources.get("GPU", 0) / num_gpus))
    weights = sum(path.stat().st_size for path in Path(source).glob("*.safetensors")) if Path(source).is_dir() else _UNKNOWN_BYTES
    by_memory = resources.get("memory", 0) / (2 * weights * models_each + _ACTOR_BYTES)  # float32 takes twice what most are stored in
    return max(1, min(int(resources.get("CPU", 1)) // 2, int(by_memory)))


@contextlib.contextmanager
def errors_told(kind: type[MixrayError], what: str, rule: str) -> Iterator[None]:
    """Let mixray's own errors, raised in actors, through as they are; tell Ray's as an error of `kind`.

    Raises:
        MixrayError: either.
    """
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        own = own_error(error)
        if own is not None:
            raise own from error
        last_line = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        raise kind(what, seen=last_line, rule=rule, do="check the memory, then run again") from error
