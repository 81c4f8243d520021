"""The card of a student: its README.md, as the Hugging Face hub and people read it.

In: facts of one student. Out: text. Only names, numbers and hashes are told: settings of a recipe may hold paths of the machine. What was
measured comes from the newest report that tells of the student, where there is one, so that the card and the report say the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixray.card import LICENSE_UNKNOWN, Teacher, cell, code, contamination, page, table, teachers_of, teachers_table
from mixray.store import Artefact
from mixray.training.measured import Measured, gaps_told, limits, result, scores_told

FIGURES = {
    "num_steps": "optimiser steps", "num_rows": "examples", "num_packs": "packed sequences", "efficiency": "filled share of them",
    "num_tokens": "tokens", "num_loss_tokens": "loss tokens", "num_cut_rows": "examples that were cut",
    "num_cut_tokens": "tokens that those lost", "first_loss": "loss at the first step", "last_loss": "loss at the last step",
    "num_tensors": "tensors merged", "num_parameters": "parameters", "seconds": "seconds",
}  # fmt: skip
PRIVATE = ("deepspeed",)
"""Settings that may hold paths, such as where weights are offloaded to: a card tells that they were given, and no more."""
MERGED = ("method", "alpha", "density")
POOL = "pool "


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
    teachers: Sequence[Teacher] = ()
    contamination: str | None = None
    """A sentence or two; None where there is no mixture."""
    measured: Measured = field(default_factory=Measured)
    place: str = "path/to/this/folder"
    """What `from_pretrained` is given."""


def facts_of(
    student: Artefact, outcome: Mapping[str, Any], mixture: Artefact | None = None, measured: Measured | None = None,
    license_id: str = LICENSE_UNKNOWN, place: str | None = None,
) -> Facts:  # fmt: skip
    """Return what is known of a student, committed or about to be.

    Args:
        student: its handle.
        outcome: what its stage says, or will say, came out.
        mixture: what it was trained on, where that is still there.
        measured: how it did.
        license_id: of the base model, and so of the student.
        place: where it will be loaded from.
    """
    settings = student.made_by["settings"]
    base = outcome.get("base_model")
    pools = mixture.outcome.get("pools", {}) if mixture else {}
    inputs = mixture.made_by["inputs"] if mixture else {}
    hashes = {key.removeprefix(POOL): hash_ for key, hash_ in inputs.items() if key.startswith(POOL)}
    return Facts(
        name=student.name, label=student.label, base_model=base, base_is_on_hub=base is not None and base == settings.get("model"),
        license_id=license_id, seed=settings.get("seed"), settings=settings.get("train", {}), figures=outcome,
        mixture=mixture.label if mixture else None, pools=pools, parents=outcome.get("merged", {}),
        teachers=teachers_of(mixture.store, hashes) if mixture else (), contamination=contamination(mixture) if mixture else None,
        measured=measured or Measured(), **({"place": place} if place else {}),
    )  # fmt: skip


def card(facts: Facts) -> str:
    """Return the README.md of a student."""
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "license": facts.license_id}
    if facts.base_model and facts.base_is_on_hub:
        head |= {"base_model": facts.base_model, "base_model_relation": "merge" if facts.parents else "finetune"}
    head["tags"] = ["mixray", "distillation", "reasoning", *(["merge"] if facts.parents else ["sft"])]
    if facts.measured.scores:
        head["model-index"] = [{"name": facts.name, "results": [result(score, facts.measured) for score in facts.measured.scores]}]
    parts = [f"# {facts.name}", _origin(facts), _license(facts)]
    if facts.measured.scores:
        parts += ["## Scores", *scores_told(facts.measured)]
    if facts.measured.gaps:
        parts += ["## Against the untouched student", *gaps_told(facts.measured)]
    if facts.pools:
        parts += ["## What it was trained on", _pools(facts.pools), teachers_table(facts.teachers), facts.contamination or ""]
    if facts.settings or facts.parents:
        parts += ["## How it was made", _settings(facts)]
    parts += ["## What came out", _figures(facts.figures), "## How to load it", _loading(facts.place)]
    parts += ["## Limits", "\n".join(f"* {limit}" for limit in [*_cut(facts), *limits(facts.measured, facts.contamination)])]
    return page(head, [*(part for part in parts if part), _made(facts)])


def _made(facts: Facts) -> str:
    lines = [f"Made by mixray as `{facts.label}`: the hash covers every setting, and the hashes of what it was made from."]
    if facts.measured.report:
        lines.append(f"Scores and differences are those of `{facts.measured.report}`.")
    if facts.measured.versions:
        lines.append("Measured with " + ", ".join(f"{name} {version}" for name, version in facts.measured.versions.items()) + ".")
    return " ".join(lines)


def _origin(facts: Facts) -> str:
    base = code(_named(facts))
    if facts.parents:
        hard, easy = (code(facts.parents[role]) for role in ("hard", "easy"))
        return f"A student merged in weight space from two students trained by mixray: {hard} and {easy}, both from {base}."
    return f"A student trained by mixray from {base} on the mixture {code(facts.mixture or 'that is no longer stored')}."


def _named(facts: Facts) -> str:
    """Return the base as others may read it: of a folder of this machine the last part alone."""
    if facts.base_model is None:
        return "a model its manifest does not name"
    return facts.base_model if facts.base_is_on_hub or facts.base_model.startswith("tiny:") else Path(facts.base_model).name


def _license(facts: Facts) -> str:
    if facts.license_id == LICENSE_UNKNOWN:
        return "Its licence is unknown: none was found with the base model, whose licence holds for this student, too."
    return f"Licence: {facts.license_id}, that of the base model unless its owner says otherwise."


def _cut(facts: Facts) -> list[str]:
    rows, tokens = (facts.figures.get(key) for key in ("num_cut_rows", "num_cut_tokens"))
    if not rows:
        return []
    return [
        f"It is a control: {rows:,} of its {facts.figures['num_rows']:,} examples were cut at {facts.settings['max_tokens']:,} tokens and "
        f"lost {tokens:,}, their answer and their end of turn among them, which teaches never to stop."
    ]


def _pools(pools: Mapping[str, Mapping[str, int]]) -> str:
    counts = ("rows", "tokens", "loss_tokens")
    total = {count: sum(pool[count] for pool in pools.values()) for count in counts}
    rows = [
        [cell(name), *(f"{pool[count]:,} ({pool[count] / max(total[count], 1):.1%})" for count in counts)] for name, pool in pools.items()
    ]
    return table(["pool", "rows", "tokens", "loss tokens"], rows)


def _settings(facts: Facts) -> str:
    asked = {key: facts.figures[key] for key in MERGED if key in facts.figures} if facts.parents else dict(facts.settings)
    told = {key: "given" if key in PRIVATE and value else json.dumps(value, ensure_ascii=False) for key, value in asked.items()}
    rows = [[cell(key), cell(value)] for key, value in told.items()]
    return table(["setting", "value"], [*rows, ["seed", "–" if facts.seed is None else str(facts.seed)]])


def _figures(figures: Mapping[str, Any]) -> str:
    return table(["figure", "value"], [[words, _number(figures[key])] for key, words in FIGURES.items() if figures.get(key) is not None])


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
