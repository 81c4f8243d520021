"""The licence of a base model, and so of a student: what its folder tells, as far as this machine holds it.

In: a model's folder or name. Out: the hub's short name of a licence, or None where none is understood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mixray.card import LICENSE_UNKNOWN
from mixray.errors import MixrayError
from mixray.models import resolve

OWN_LICENSE = "apache-2.0"
"""Of the shipped models: the package's."""
# What the first lines of a licence's text are, and what the hub calls it.
LICENSE_TEXTS = {
    ("apache license", "version 2.0"): "apache-2.0",
    ("mit license",): "mit",
    ("permission is hereby granted, free of charge",): "mit",
    ("gnu general public license", "version 3"): "gpl-3.0",
    ("llama 3.2 community license",): "llama3.2",
    ("llama 3.1 community license",): "llama3.1",
}


def license_of(folder: Path) -> str | None:
    """Return the licence a model folder tells, in its card or as a text, by the hub's short name; None where neither is understood."""
    for path in sorted(folder.glob("README.md")):
        told = _front_matter(path.read_text(encoding="utf-8", errors="replace")).get("license")
        if isinstance(told, str) and told not in ("", LICENSE_UNKNOWN):
            return told
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE"))):
        text = " ".join(path.read_text(encoding="utf-8", errors="replace")[:2000].lower().split())
        for marks, name in LICENSE_TEXTS.items():
            if all(mark in text for mark in marks):
                return name
    return None


def license_of_model(model: str | None) -> str | None:
    """Return the licence of a model as far as this machine holds it: its folder, or what the hub's client has fetched of it."""
    if model is None:
        return None
    if model.startswith("tiny:"):
        return OWN_LICENSE
    from huggingface_hub import try_to_load_from_cache

    try:
        source = resolve(model)
    except MixrayError:  # a folder that is gone since: nothing can be said of its licence
        return None
    if Path(source).is_dir():
        return license_of(Path(source))
    found = [try_to_load_from_cache(source, name) for name in ("README.md", "LICENSE", "config.json")]
    folders = [Path(path).parent for path in found if isinstance(path, str)]
    return license_of(folders[0]) if folders else None


def _front_matter(text: str) -> dict[str, Any]:
    if not text.startswith("---"):
        return {}
    try:
        told = yaml.safe_load(text.split("---", 2)[1])
    except (yaml.YAMLError, IndexError):  # somebody else's card: what it says cannot be had
        return {}
    return told if isinstance(told, dict) else {}
