"""Two students and the model both were trained from: whether they can be merged at all.

In: three model folders. Out: their weights, and the tensors of the merged student; or an error that says in what they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixray.chat import load_tokenizer
from mixray.errors import TrainingError
from mixray.models import resolve
from mixray.training.merging.weights import Form, Weights

if TYPE_CHECKING:
    import torch

HEAD = "lm_head.weight"
"""What is not stored, or stored twice, where the output layer is tied to the embeddings."""
# These say who wrote a config and how the model is run, not what it computes.
BESIDE_THE_POINT = {"transformers_version", "dtype", "torch_dtype", "_name_or_path", "use_cache", "pad_token_id", "architectures"}
FETCHED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md", "LICENSE*"]


@dataclass(frozen=True)
class Parents:
    """The folders of a hard student, an easy student and their base, found fit to be merged."""

    hard: Weights
    easy: Weights
    base: Weights
    forms: dict[str, Form]
    """Every tensor of the merged student."""

    @property
    def folder(self) -> Path:
        """Where config, tokenizer and chat template are taken from."""
        return self.hard.folder


def local_base(model: str) -> Path:
    """Return a local folder with a model, fetched from the hub where it is not there yet.

    Raises:
        TrainingError: it cannot be had.
        MixrayError: it is missing or unsafe.
    """
    source = resolve(model)
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=FETCHED))
    except Exception as error:  # the client, its transport and the hub each have errors of their own
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise TrainingError("The base model cannot be fetched", seen=model, rule=told, do="check the name and the net") from error


def open_parents(hard: Path, easy: Path, base: Path) -> Parents:
    """Open the three models and hold them against each other.

    Raises:
        TrainingError: configs, tokenizers or tensors do not belong together.
    """
    folders = {"hard": hard, "easy": easy, "base": base}
    configs = {role: _config(folder) for role, folder in folders.items()}
    _check_alike("configs", "hard", "easy", configs)
    _check_alike("configs", "hard", "base", configs)
    tokenizers = {role: _tokenizer(folder) for role, folder in folders.items()}
    _check_alike("tokenizers", "hard", "easy", tokenizers)
    _check_alike("tokenizers", "hard", "base", {role: {"vocabulary": told["vocabulary"]} for role, told in tokenizers.items()})
    weights = {role: Weights(folder) for role, folder in folders.items()}
    forms = {role: _forms(each, bool(configs["hard"].get("tie_word_embeddings"))) for role, each in weights.items()}
    for role in ("easy", "base"):
        _check_tensors(role, forms["hard"], forms[role])
    return Parents(weights["hard"], weights["easy"], weights["base"], forms["hard"])


def _config(folder: Path) -> dict[str, Any]:
    """Return the config as this version of transformers understands it: the same model may be told in the words of another."""
    from transformers import AutoConfig

    try:
        told = AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()
    except (OSError, ValueError) as error:
        raise TrainingError("A model's config cannot be read", seen=str(folder), rule=str(error).splitlines()[0]) from error
    return {key: value for key, value in told.items() if key not in BESIDE_THE_POINT}


def _tokenizer(folder: Path) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    return {"vocabulary": tokenizer.get_vocab(), "chat template": tokenizer.chat_template, "end of turn": tokenizer.eos_token}


def _check_alike(what: str, one: str, other: str, told: dict[str, dict[str, Any]]) -> None:
    first, second = told[one], told[other]
    apart = sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))
    if apart:
        shown = f"{apart[0]} is {_shown(first.get(apart[0]))} and {_shown(second.get(apart[0]))}"
        raise TrainingError(
            f"The {what} of two models to be merged differ",
            seen=f"{one} and {other}: {shown}",
            rule="one base, one tokenizer, one chat template",
            do="merge students of the same base model",
        )


def _shown(value: Any) -> str:
    return f"{len(value):,} tokens" if isinstance(value, dict) and len(value) > 20 else f"{value!r}"[:80]


def _forms(weights: Weights, tied: bool) -> dict[str, Form]:
    """Return a model's tensors; a tied output layer is left out, since the embeddings are it."""
    if not tied or HEAD not in weights.forms:
        return weights.forms
    import torch

    twins = [name for name in weights.forms if "embed" in name and weights.forms[name] == weights.forms[HEAD]]
    if not any(torch.equal(weights.tensor(name), weights.tensor(HEAD)) for name in twins):
        raise TrainingError(
            "A tied output layer is not the embeddings",
            seen=f"{weights.folder}: {HEAD}",
            rule="tie_word_embeddings in config.json says that they are one",
            do="set tie_word_embeddings to what the weights are, in all three models",
        )
    return {name: form for name, form in weights.forms.items() if name != HEAD}


def _check_tensors(role: str, hard: dict[str, Form], other: dict[str, Form]) -> None:
    wrong = [f"{name} is missing in {role}" for name in sorted(hard.keys() - other.keys())]
    wrong += [f"{name} is in {role} alone" for name in sorted(other.keys() - hard.keys())]
    for name in sorted(hard.keys() & other.keys()):
        one, two = hard[name], other[name]
        same_type = one.dtype == two.dtype or (role == "base" and one.is_float and two.is_float)
        if one.shape != two.shape or not same_type:
            wrong.append(f"{name} is {one} in hard and {two} in {role}")
    if wrong:
        raise TrainingError(
            "The tensors of two models to be merged differ",
            seen="; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""),
            rule="the same names and shapes; the two students of the same types",
            do="merge whole students of the same base model",
        )


def unmerged(name: str, parents: Parents) -> torch.Tensor:
    """Return a tensor of whole numbers, which has no mean: all three must have the same.

    Raises:
        TrainingError: they do not.
    """
    import torch

    tensors = [weights.tensor(name) for weights in (parents.hard, parents.easy, parents.base)]
    if not all(torch.equal(tensors[0], tensor) for tensor in tensors[1:]):
        raise TrainingError("A tensor of whole numbers differs, and cannot be merged", seen=f"{name}: {parents.forms[name]}")
    return tensors[0]
