"""The card of a student: its README.md, as the Hugging Face hub and people read it.

In: facts of one student. Out: text. Only names, numbers and hashes are told: settings of a recipe may hold paths of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mixray.errors import MixrayError
from mixray.models import resolve
from mixray.store import Artefact

LICENSE_UNKNOWN = "unknown"
OWN_LICENSE = "apache-2.0"
"""Of the shipped models: the package's."""
FIGURES = {
    "num_steps": "optimiser steps", "num_rows": "examples", "num_packs": "packed sequences", "efficiency": "filled share of them",
    "num_tokens": "tokens", "num_loss_tokens": "loss tokens", "first_loss": "loss at the first step", "last_loss": "loss at the last step",
    "num_tensors": "tensors merged", "num_parameters": "parameters", "seconds": "seconds",
}  # fmt: skip
PRIVATE = ("deepspeed",)
"""Settings that may hold paths, such as where weights are offloaded to: a card tells that they were given, and no more."""
MERGED = ("method", "alpha", "density")
# What the first lines of a licence's text are, and what the hub calls it.
LICENSE_TEXTS = {
    ("apache license", "version 2.0"): "apache-2.0",
    ("mit license",): "mit",
    ("permission is hereby granted, free of charge",): "mit",
    ("gnu general public license", "version 3"): "gpl-3.0",
    ("llama 3.2 community license",): "llama3.2",
    ("llama 3.1 community license",): "llama3.1",
}


@dataclass(frozen=True)
class Score:
    """How a student did on one benchmark; without an interval where nobody has worked one out."""

    benchmark: str
    accuracy: float
    num_problems: int
    source: str
    """Label of the artefact of kind `scores`."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Facts:
    """What a card tells."""

    name: str
    label: str
    base_model: str | None
    """As the recipe names it; None where the student is of a version that did not tell."""
    base_is_on_hub: bool
    license_id: str
    seed: int | None
    settings: Mapping[str, Any]
    """Of the training; empty for a merged student."""
    figures: Mapping[str, Any]
    mixture: str | None
    """Label of the mixture; None for a merged student, or where the mixture is gone."""
    pools: Mapping[str, Mapping[str, int]]
    """Rows, tokens and loss tokens of each pool in the mixture."""
    parents: Mapping[str, str]
    """Labels of the hard and the easy student; empty for a trained student."""
    scores: Sequence[Score] = field(default=())
    place: str = "path/to/this/folder"
    """What `from_pretrained` is given."""


def facts_of(
    student: Artefact, outcome: Mapping[str, Any], mixture: Artefact | None = None, scores: Sequence[Score] = (),
    license_id: str = LICENSE_UNKNOWN, place: str | None = None,
) -> Facts:  # fmt: skip
    """Return what is known of a student, committed or about to be.

    Args:
        student: its handle.
        outcome: what its stage says, or will say, came out.
        mixture: what it was trained on, where that is still there.
        scores: how it did.
        license_id: of the base model, and so of the student.
        place: where it will be loaded from.
    """
    settings = student.made_by["settings"]
    base = outcome.get("base_model")
    return Facts(
        name=student.name, label=student.label, base_model=base, base_is_on_hub=base is not None and base == settings.get("model"),
        license_id=license_id, seed=settings.get("seed"), settings=settings.get("train", {}), figures=outcome,
        mixture=mixture.label if mixture else None, pools=mixture.outcome.get("pools", {}) if mixture else {},
        parents=outcome.get("merged", {}), scores=scores, **({"place": place} if place else {}),
    )  # fmt: skip


def license_of(folder: Path) -> str | None:
    """Return the licence a model folder tells, in its card or as a text, by the hub's short name; None where neither is understood."""
    for path in sorted(folder.glob("README.md")):
        told = _front_matter(path.read_text(encoding="utf-8", errors="replace")).get("license")
        if isinstance(told, str) and told:
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


def card(facts: Facts) -> str:
    """Return the README.md of a student."""
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "license": facts.license_id}
    if facts.base_model and facts.base_is_on_hub:
        head |= {"base_model": facts.base_model, "base_model_relation": "merge" if facts.parents else "finetune"}
    head["tags"] = ["mixray", "distillation", "reasoning", *(["merge"] if facts.parents else ["sft"])]
    parts = [f"# {facts.name}", _origin(facts), _license(facts)]
    if facts.scores:
        parts += ["## Scores", _scores(facts.scores)]
    if facts.pools:
        parts += ["## What it was trained on", _pools(facts.pools)]
    if facts.settings or facts.parents:
        parts += ["## How it was made", _settings(facts)]
    parts += ["## What came out", _figures(facts.figures), "## How to load it", _loading(facts.place)]
    parts.append(f"Made by mixray as `{facts.label}`: the hash covers every setting, and the hashes of what it was made from.")
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n" + "\n\n".join(parts) + "\n"


def _origin(facts: Facts) -> str:
    base = _code(_named(facts))
    if facts.parents:
        hard, easy = (_code(facts.parents[role]) for role in ("hard", "easy"))
        return f"A student merged in weight space from two students trained by mixray: {hard} and {easy}, both from {base}."
    return f"A student trained by mixray from {base} on the mixture {_code(facts.mixture or 'that is no longer stored')}."


def _named(facts: Facts) -> str:
    """Return the base as others may read it: of a folder of this machine the last part alone."""
    if facts.base_model is None:
        return "a model its manifest does not name"
    return facts.base_model if facts.base_is_on_hub or facts.base_model.startswith("tiny:") else Path(facts.base_model).name


def _license(facts: Facts) -> str:
    if facts.license_id == LICENSE_UNKNOWN:
        return "Its licence is unknown: none was found with the base model, whose licence holds for this student, too."
    return f"Licence: {facts.license_id}, that of the base model unless its owner says otherwise."


def _scores(scores: Sequence[Score]) -> str:
    rows = []
    for score in scores:
        interval = "–" if score.low is None or score.high is None else f"[{100 * score.low:.1f}, {100 * score.high:.1f}]"
        rows.append([score.benchmark, f"{100 * score.accuracy:.1f} %", interval, f"{score.num_problems:,}", _code(score.source)])
    return _table(["benchmark", "right", "95 % interval", "problems", "from"], rows)


def _pools(pools: Mapping[str, Mapping[str, int]]) -> str:
    counts = ("rows", "tokens", "loss_tokens")
    total = {count: sum(pool[count] for pool in pools.values()) for count in counts}
    rows = [
        [_cell(name), *(f"{pool[count]:,} ({pool[count] / max(total[count], 1):.1%})" for count in counts)] for name, pool in pools.items()
    ]
    return _table(["pool", "rows", "tokens", "loss tokens"], rows)


def _settings(facts: Facts) -> str:
    asked = {key: facts.figures[key] for key in MERGED if key in facts.figures} if facts.parents else dict(facts.settings)
    told = {key: "given" if key in PRIVATE and value else json.dumps(value, ensure_ascii=False) for key, value in asked.items()}
    rows = [[_cell(key), _cell(value)] for key, value in told.items()]
    return _table(["setting", "value"], [*rows, ["seed", "–" if facts.seed is None else str(facts.seed)]])


def _figures(figures: Mapping[str, Any]) -> str:
    return _table(["figure", "value"], [[words, _number(figures[key])] for key, words in FIGURES.items() if figures.get(key) is not None])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _loading(place: str) -> str:
    given = json.dumps(place)
    return f"""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({given})
model = AutoModelForCausalLM.from_pretrained({given}, dtype="auto")
messages = [{{"role": "user", "content": "What is 12 times 7?"}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt, max_new_tokens=256)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
```

Or behind an OpenAI-compatible endpoint: `vllm serve {place}`. Ask it with its chat template and without stop strings: it ends by itself."""


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, ["---"] * len(titles), *rows))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return "`" + _cell(text).replace("`", "'") + "`"
