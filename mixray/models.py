"""Where model names lead: `tiny:<name>` to a shipped model, a folder to itself, an artefact's address to a copy, anything else to the hub.

Only safetensors are loaded and no code from a model folder ever runs; a folder that holds either kind of danger is refused before
anything imports it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

from mixray import copies
from mixray.chat import TODAY
from mixray.errors import MixrayError
from mixray.rows import digest
from mixray.threads import side_by_side

HUB_SECONDS = 10
DANGEROUS = (".py", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".so")

TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model",
}  # fmt: skip


def tiny_models_folder() -> Path:
    """Return the folder of the shipped micro-models."""
    return Path(str(resources.files("mixray"))) / "tiny" / "models"


def resolve(model: str) -> str:
    """Return a local folder, or a hub id, that transformers and vLLM load.

    Raises:
        MixrayError: the folder is missing, incomplete, or holds code or pickles.
    """
    if model.startswith("tiny:"):
        folder = tiny_models_folder() / model.removeprefix("tiny:")
        known = sorted(path.name for path in tiny_models_folder().glob("*") if path.is_dir())
        if folder.name not in known:
            raise MixrayError("There is no such shipped model", seen=model, rule=f"one of {['tiny:' + name for name in known]}")
        return _checked(folder)
    if "://" in model:
        return _checked(copies.bring(model))
    path = Path(model).expanduser()
    if path.is_dir():
        return _checked(path.resolve())
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return model
    raise MixrayError(
        "A model is missing",
        seen=model,
        rule="`tiny:<name>`, an existing folder, the address of a student in a storage, or a hub id `owner/name`",
        do="check the recipe's `model`",
    )


def name_of(model: str) -> str:
    """Return what a model is called where nobody names it: the last part of its path or id, in the letters a name may have."""
    last = model.rstrip("/").rpartition("/")[2].removeprefix("tiny:").lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or "model"


def for_workers(model: str) -> str:
    """Return what leads to the same model on any node: the copy of a remote student is of this machine alone, its address is not."""
    return model if "://" in model else resolve(model)


def fingerprint(model: str) -> str:
    """Return what identifies a model in the hashes of artefacts: the content of a folder, or the id on the hub."""
    return _fingerprint(resolve(model), lambda path: path.name not in ("README.md", "manifest.json"))


@functools.cache  # a run speaks of one commit, whatever is pushed meanwhile
def revision(model: str) -> str | None:
    """Return the commit that a hub id stands for today: as the hub tells or, where it cannot be asked, as it was last fetched.

    None where that is not known, and for a folder.
    """
    source = resolve(model)
    if Path(source).is_dir():
        return None
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        return HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(source, timeout=HUB_SECONDS).sha
    except Exception:  # the client, its transport and the hub each have errors of their own; whoever loads the model tells them
        fetched = try_to_load_from_cache(source, "config.json")
        return Path(fetched).parent.name if isinstance(fetched, str) else None


def look_up(models: Iterable[str]) -> None:
    """Ask the hub for the commits of several models at once: where it does not answer, they are waited for together.

    Raises:
        MixrayError: as `resolve`.
    """
    calls = [functools.partial(revision, model) for model in dict.fromkeys(models)]
    for _ in side_by_side(calls):
        pass


def folder_fingerprint(folder: str) -> str:
    """Return what identifies the content of any folder, such as an adapter's."""
    return _fingerprint(folder, lambda path: path.name != "README.md")


def tokenizer_fingerprint(model: str) -> str:
    """Return what identifies a model's tokenizer and chat template alone: students that share them share mixtures and plans."""
    source = resolve(model)
    told = _fingerprint(source, lambda path: path.name in TOKENIZER_FILES)
    templates = [Path(source) / name for name in ("chat_template.jinja", "tokenizer_config.json")]
    # Its tokens are those of the day that `chat` says it is, which only such templates print.
    dated = any(path.is_file() and "strftime_now" in path.read_text(encoding="utf-8") for path in templates)
    return digest([told, TODAY], 16) if dated else told


def _fingerprint(source: str, counts: Callable[[Path], bool]) -> str:
    folder = Path(source)
    if not folder.is_dir():
        return source
    files = sorted(path for path in folder.rglob("*") if path.is_file() and counts(path))
    return digest([[path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files], 16)


def _checked(folder: Path) -> str:
    config = folder / "config.json"
    if not config.is_file():
        raise MixrayError("A model folder has no config.json", seen=str(folder), do="pass a Hugging Face model folder")
    danger = sorted(path.name for path in folder.rglob("*") if path.suffix in DANGEROUS)
    if danger or "auto_map" in json.loads(config.read_text(encoding="utf-8")):
        raise MixrayError(
            "A model folder holds code or pickles",
            seen=f"{folder}: {danger or 'auto_map in config.json'}",
            rule="safetensors and JSON only",
            do="convert the weights to safetensors and remove the rest",
        )
    return str(folder)
