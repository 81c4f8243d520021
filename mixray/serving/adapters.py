"""Which students can share an engine: adapters on one base, with one tokenizer and one set of generation settings.

In: model folders by name. Out: groups; of each the model to load and the adapters to load onto it. A student that was trained with
adapters holds them unmerged in `adapter/` (see `mixray.training.export`), beside the merged weights that are served otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixray.errors import MixrayError
from mixray.models import resolve, tokenizer_fingerprint
from mixray.recipe import Serve

ADAPTER = "adapter"
SETTINGS = "adapter_config.json"
# The ranks vLLM has room for; the next larger one is taken.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Group:
    """Students of one engine: the one called `name` alone, or `adapters` (folder by student) on `source`."""

    name: str
    source: str
    adapters: dict[str, str] = field(default_factory=dict)
    tokenizer: str | None = None
    """The folder whose tokenizer and generation settings hold, where they are not those of `source`."""
    max_rank: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The students it answers for."""
        return tuple(self.adapters) or (self.name,)


def groups(sources: Mapping[str, str], serve: Serve) -> list[Group]:
    """Return which students share an engine; each is alone unless adapters are shared and two or more fit together."""
    alone = {name: Group(name, source) for name, source in sources.items()}
    if serve.adapters == "merged":
        return list(alone.values())
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, source in sources.items():
        base = _base(Path(source))
        if base is not None:
            settings = Path(source) / "generation_config.json"
            text = settings.read_text(encoding="utf-8") if settings.is_file() else ""
            alike.setdefault((base, tokenizer_fingerprint(source), text), []).append(name)
    out: list[Group] = []
    for number, ((base, _, _), names) in enumerate(alike.items(), 1):
        if len(names) > 1:
            adapters = {name: str(Path(sources[name]) / ADAPTER) for name in names}
            rank = max(_settings(Path(folder))["r"] for folder in adapters.values())
            most = min((known for known in RANKS if known >= rank), default=rank)
            out.append(Group(f"shared-{number}", base, adapters, sources[names[0]], most))
    together = {name for group in out for name in group.names}
    return [*out, *(group for name, group in alone.items() if name not in together)]


def _base(source: Path) -> str | None:
    """Return the model a student's adapters stand on; None where it has none, or where that model is not there any more."""
    if not (source / ADAPTER / SETTINGS).is_file():
        return None
    base = _settings(source / ADAPTER)["base_model_name_or_path"]
    try:
        return resolve(base) if base else None  # a student that was pushed names none where its base is not on the hub
    except MixrayError:
        return None


def _settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    return settings
