"""Students on the Hugging Face hub: the whole folder, as `from_pretrained` and vLLM load it, with a full card."""

from __future__ import annotations

import json
from pathlib import Path

from mixray import hub
from mixray.card import LICENSE_UNKNOWN
from mixray.errors import TrainingError
from mixray.store import Artefact
from mixray.training import shelf
from mixray.training.card import card, facts_of
from mixray.training.license import license_of, license_of_model
from mixray.training.measured import Measured

KEPT_BACK = ("README.md", "manifest.json", "adapter/README.md")
"""The card is written anew; what made a student, and the card PEFT writes, may hold paths of the machine."""
ADAPTER = "adapter/adapter_config.json"
FOLDERS_KEPT_BACK = ("tensorboard",)
REPLACED = ["*.safetensors", "*.safetensors.index.json"]


def push(
    student: Artefact, repo: str, private: bool = False, license_id: str | None = None, measured: Measured | None = None
) -> str:  # fmt: skip
    """Push a student to a model repository of the hub, made if it is not there; return the commit's address.

    Args:
        student: what to push.
        repo: `owner/name`.
        private: whether nobody else may see it; a public repository that is there already is refused.
        license_id: for the card; that of the base model where it is not said.
        measured: how it did, for the card.

    Raises:
        RecipeError: the name is wrong.
        TrainingError: there is no token, the licence is none, or the hub refuses.
    """
    if license_id is not None:
        hub.check_license(license_id, TrainingError)

    def fill(folder: Path) -> None:
        _fill(folder, student, repo, license_id, measured)

    # Shards of a larger former student would be read together with the new ones.
    parcel = hub.Parcel("student", "model", TrainingError, fill, student.label, REPLACED)
    return hub.push(parcel, repo, private)


def _fill(folder: Path, student: Artefact, repo: str, license_id: str | None, measured: Measured | None) -> None:
    """Fill a folder with links to the student's files, which may be too large to copy, and its card."""
    source = student.local_folder()
    for entry in student.manifest()["files"]:
        path = Path(entry["path"])
        if entry["path"] in KEPT_BACK or path.parts[0] in FOLDERS_KEPT_BACK:
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to((source / path).resolve())
    if (folder / ADAPTER).exists():
        _name_base(folder / ADAPTER, student)
    (folder / "README.md").write_text(card_of(student, license_id, measured, repo), encoding="utf-8")


def card_of(student: Artefact, license_id: str | None, measured: Measured | None, place: str | None = None) -> str:
    """Return the card of a committed student.

    Args:
        student: its artefact.
        license_id: that of the base model where it is not said.
        measured: how it did.
        place: where it will be loaded from; its own name where unset.
    """
    found = license_id or license_of(student.local_folder()) or license_of_model(shelf.base_of(student)) or LICENSE_UNKNOWN
    outcome = {**student.outcome, "base_model": shelf.base_of(student)}
    mixture = shelf.mixture_of(student.store, student)
    return card(facts_of(student, outcome, mixture, measured, found, place))


def _name_base(path: Path, student: Artefact) -> None:
    """Let an adapter name its base as the hub knows it, or not at all: PEFT writes down where it lay on this machine."""
    told = json.loads(path.read_text(encoding="utf-8"))
    base = shelf.base_of(student)
    on_hub = base is not None and base == student.made_by["settings"].get("model")
    path.unlink()
    path.write_text(json.dumps({**told, "base_model_name_or_path": base if on_hub else None}, indent=2) + "\n", encoding="utf-8")
