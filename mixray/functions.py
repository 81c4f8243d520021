"""A function of the user's own, which a recipe names by its import path: found, told apart by its source, imported.

In: `package.module:function`. Out: a `UserFunction`, which travels to workers by its name and is imported where it is called. Finding it
runs nothing of the module or of its packages, so `plan` and `status` never do; calling it runs the user's code, with all rights of this
process. Modules are looked for where Python looks, and in the present folder after that.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixray.errors import RecipeError

NAME = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
_importing = threading.Lock()
_imported: dict[str, str] = {}  # module -> the digest of the source it was imported from


def checked_name(name: str) -> str:
    """Return a name that may stand in a recipe.

    Raises:
        ValueError: it is no import path, or one of Python's own library, some of whose functions run what they are given as commands.
    """
    if not re.fullmatch(NAME, name):
        raise ValueError("must read package.module:function")
    if name.partition(":")[0].partition(".")[0] in sys.stdlib_module_names:
        raise ValueError("must be a function of your own, not of Python's own library")
    return name


@dataclass(frozen=True)
class UserFunction:
    """A function by its import path, and what its module held when the run began."""

    name: str
    source: str
    """Digest of the module's file."""
    folder: str
    """Where the module, or the package it is in, was found; looked into after all other places."""

    @classmethod
    def named(cls, name: str) -> UserFunction:
        """Find a function's module, running nothing of it.

        Raises:
            RecipeError: it is not there.
        """
        path = module_file(name)
        if path is None:
            raise _missing(name)
        module = name.partition(":")[0]
        depth = module.count(".") + (path.name == "__init__.py")
        return cls(name, _digest(path), str(path.parents[depth]))

    def identity(self) -> dict[str, str]:
        """Return what identifies the function in hashes: not where it lies."""
        return {"function": self.name, "source": self.source}

    def load(self) -> Callable[..., Any]:
        """Import the function.

        Raises:
            RecipeError: the module is not here, is another one than where the run began, fails, or lacks the function.
        """
        module_name, _, attribute = self.name.partition(":")
        with _importing:
            path = module_file(self.name, self.folder)
            if path is None:
                raise _missing(self.name)
            if _digest(path) != self.source:
                raise RecipeError(
                    "A module is not the one that the run began with",
                    seen=f"{self.name} in {path}",
                    rule="the same source on every node, from a run's start to its end",
                    do="lay the same file everywhere and run again",
                )
            module = self._module(module_name)
        function = getattr(module, attribute, None)
        if not callable(function):
            raise RecipeError(
                "A module lacks the function that the recipe names", seen=f"{self.name} in {path}", do="check the name after the colon"
            )
        return function  # type: ignore[no-any-return]

    def _module(self, name: str) -> Any:
        known = _imported.get(name)
        try:
            module = importlib.import_module(name)
            if known not in (None, self.source):  # an earlier source, in a process that outlives it
                module = importlib.reload(module)
        except (Exception, SystemExit) as error:
            raise RecipeError(
                "A module that the recipe names cannot be imported", seen=f"{self.name}: {type(error).__name__}: {error}", do="mend it"
            ) from error
        _imported[name] = self.source
        return module


def module_file(name: str, further: str | None = None) -> Path | None:
    """Return the source file of a function's module, or None; nothing is imported.

    Args:
        name: `package.module:function`.
        further: a folder to look into after all others.
    """
    importlib.invalidate_caches()
    for folder in (os.getcwd(), further):
        if folder and folder not in sys.path:
            sys.path.append(folder)  # last, and kept: a file here must not hide a library, and the function may import more when called
    parts = name.partition(":")[0].split(".")
    path: Any = None
    origin = None
    for end in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:end]), path)
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
        if path is None and end < len(parts):
            return None
    return Path(origin) if origin and origin.endswith(".py") else None


def _spec(name: str, path: Any) -> Any:
    """Return a module's spec without importing its package, which `importlib.util.find_spec` would do."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def files_here(name: str) -> list[Path]:
    """Return the files of the present folder, as relative paths, that a function's module is made of: its file, or its whole package."""
    path = module_file(name)
    here = Path.cwd()
    if path is None or not path.resolve().is_relative_to(here):
        return []
    top = name.partition(":")[0].partition(".")[0]
    if Path(f"{top}.py").is_file() and path.resolve() == (here / f"{top}.py").resolve():
        return [Path(f"{top}.py")]
    found = (item for item in Path(top).rglob("*") if item.is_file())
    return sorted(item for item in found if not any(part == "__pycache__" or part.startswith(".") for part in item.parts))


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package, which nodes may have as well."""
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _missing(name: str) -> RecipeError:
    return RecipeError(
        "A function that the recipe names is not here",
        seen=name,
        rule="its module is a .py file on PYTHONPATH or in the folder where mixray runs, on every node",
        do="check the name; `mixray submit` sends a module that lies in the present folder",
    )
