"""What of a recipe travels to the cluster: the recipe itself and the files it names, in one small folder.

In: a recipe as plain data. Out: the folder that becomes the job's working directory. A relative path means the same file there as here,
so artefacts have the same hashes; so does a verifier's module that lies in the present folder. What cannot travel is refused before
anything is sent: a file from outside the present folder, secrets, more than Ray's job server takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mixray import functions
from mixray.errors import RecipeError
from mixray.models import folder_fingerprint

RECIPE = "recipe.yaml"
MOST_BYTES = 50 * 2**20
"""Of everything that travels: the job server refuses uploads beyond 100 MiB."""
_HUB = "hf:"
# Keys of a recipe whose values may name files, wherever they stand.
_FILES = {"source", "traces", "model", "lora"}
_SECRET_FILES = {"keys_file", "tls_key"}
_NODE_FILES = {"tls_cert"}
_MODULES = {"verifier"}


def named_files(data: Any, shared_paths: bool) -> list[Path]:
    """Return the files and folders of this machine that must travel with a recipe, as relative paths.

    Args:
        data: the recipe.
        shared_paths: absolute paths are the same files on every node; nobody looks for them here.

    Raises:
        RecipeError: one lies outside the present folder, or must not travel.
    """
    found: list[Path] = []
    for key, value in sorted(set(_named(data))):
        if key in _MODULES:
            found += _module(key, value, shared_paths)
            continue
        text = value.removeprefix(_HUB)
        if "://" in text or text == "tiny" or text.startswith("tiny:"):
            continue
        path = Path(text)
        absolute = text.startswith(("/", "~"))
        if absolute and (shared_paths or not path.expanduser().exists()):
            continue  # a path of the nodes
        if not absolute and not path.exists() and not text.startswith(("./", "../")):
            continue  # a hub id, or it is told by whoever reads it
        found.append(_may_travel(key, path, absolute))
    return sorted(set(found))


def _module(key: str, name: str, shared_paths: bool) -> list[Path]:
    """Return the files of a function's module that lies in the present folder; an installed one, and one unknown here, is the nodes'."""
    files, path = functions.files_here(name), functions.module_file(name)
    if not files and path is not None and not shared_paths and not functions.is_installed(path):
        raise RecipeError(
            "A recipe names a module of this machine alone",
            seen=f"{key}: {name} in {path}",
            rule="modules travel from the present folder",
            do="copy it here, or install it on the nodes; with --shared-paths it is taken to be on the nodes' PYTHONPATH",
        )
    return files


def _may_travel(key: str, path: Path, absolute: bool) -> Path:
    seen = f"{key}: {path}"
    if key in _SECRET_FILES:
        raise RecipeError(
            "A file of secrets does not travel",
            seen=seen,
            rule="secrets are on the nodes, or in variables that `--secret` names",
            do="lay it on the nodes, name it by its absolute path there and pass --shared-paths, or use MIXRAY_API_KEY",
        )
    if absolute or not path.resolve().is_relative_to(Path.cwd()):
        raise RecipeError(
            "A recipe names a file of this machine alone",
            seen=seen,
            rule="files travel from the present folder, by relative paths",
            do="copy it here and name it relative, or name a URL; with --shared-paths absolute paths are those of the nodes",
        )
    if not path.exists():
        raise RecipeError("A recipe names a file that is not there", seen=seen, do="check the path")
    return path


def _named(data: Any) -> Iterator[tuple[str, str]]:
    """Yield every (key, value) that may name a file; a model behind an endpoint is a name there."""
    for key, value in data.items() if isinstance(data, dict) else ():
        if isinstance(value, str):
            if key in _FILES | _SECRET_FILES | _NODE_FILES | _MODULES and not (key == "model" and data.get("endpoint")):
                yield key, value
        else:
            yield from _named(value)


def contents(files: list[Path]) -> dict[str, str]:
    """Return a checksum for each file and folder that travels: what is in them is part of what is asked for."""
    return {str(path): folder_fingerprint(str(path)) if path.is_dir() else _checksum(path) for path in files}


def _checksum(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def pack(folder: Path, data: Any, files: list[Path]) -> None:
    """Fill a folder with a recipe and its files.

    Raises:
        RecipeError: together they are too large to travel.
    """
    size = sum(item.stat().st_size for path in files for item in (path.rglob("*") if path.is_dir() else [path]) if item.is_file())
    if size > MOST_BYTES:
        raise RecipeError(
            "The files of a recipe are too large to travel",
            seen=f"{size:,} bytes in {', '.join(map(str, files))}",
            rule=f"at most {MOST_BYTES:,}",
            do="lay them on the storage or the hub and name them there; with --shared-paths absolute paths are those of the nodes",
        )
    (folder / RECIPE).write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for path in files:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)
