"""Ray Data as every stage runs it: quiet, patient, and with errors that can be acted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixray.errors import MixrayError

if TYPE_CHECKING:
    from ray.data import DataContext


def data_context(num_cpus: int) -> DataContext:
    """Return a context for one execution on so many CPUs; `DataContext.current` makes it hold."""
    from ray.data import DataContext, ExecutionResources

    context = DataContext.get_current().copy()
    context.execution_no_progress_timeout_s = -1
    # Each further process spends seconds on imports that the actors wait for; reading takes next to nothing.
    context.execution_options.resource_limits = ExecutionResources(cpu=num_cpus)
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
