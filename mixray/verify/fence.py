"""The fence around a process that reads what a model wrote: bounded memory, no files, no sockets, no processes, no code from text.

In: limits. Out: nothing; once it is up it stays up. The rule is a list of what Python may do, not of what it may not: whatever else
raises an audit event is refused, and remembered, since the libraries behind it swallow errors and would turn the refusal into a verdict.
The kernel keeps the rest: no byte goes into a file, and memory ends where it is said to.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

refused: list[str] = []
"""The events that were refused since it was last emptied."""

_ALLOWED = frozenset([
    "import", "marshal.loads", "marshal.load", "object.__getattr__", "object.__setattr__", "object.__delattr__", "sys._getframe",
    "sys._getframemodulename", "builtins.id", "sys.unraisablehook", "gc.get_objects", "gc.get_referrers", "gc.get_referents",
    "array.__new__",
])  # fmt: skip
_ROOTS = tuple({os.path.realpath(path) + os.sep for path in (*sys.path, sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)) if path})
_MODULES = (".py", ".pyc", ".so")


def put_up(memory_bytes: int) -> None:
    """Fence this process in, for good."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    sys.dont_write_bytecode = True
    sys.addaudithook(_judge)


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _ALLOWED or _loads_a_module(event, arguments):
        return
    refused.append(event)
    raise PermissionError(f"{event} is not for a verifier")


def _loads_a_module(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether the event belongs to an import: of installed modules, since code that was made from text names no file."""
    if event == "open":
        path, _, flags = arguments
        return isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) and _is_installed(path, _MODULES)
    if event == "compile":
        return _is_installed(arguments[1], _MODULES)
    if event == "exec":
        return _is_installed(getattr(arguments[0], "co_filename", None), _MODULES)
    return event in ("os.listdir", "os.scandir") and _is_installed(arguments[0])


def _is_installed(path: Any, endings: tuple[str, ...] = ("",)) -> bool:
    return (
        isinstance(path, str)
        and f"{os.path.realpath(path)}{'' if endings != ('',) else os.sep}".startswith(_ROOTS)
        and path.endswith(endings)
    )
