"""Mixtures on the Hugging Face hub.

In: a mixture, a repository's name. Out: a commit with the card and the parquet files; what else the repository holds stays.
"""

from __future__ import annotations

from pathlib import Path

from mixray import hub
from mixray.errors import MixtureError
from mixray.mixing.card import SHARDS
from mixray.mixing.export import write_hub_folder
from mixray.store import Artefact


def push(mixture: Artefact, repo: str, private: bool = False, license_id: str | None = None) -> str:
    """Push a mixture to a data set repository of the hub, made if it is not there; return the commit's address.

    Args:
        mixture: what to push.
        repo: `owner/name`.
        private: whether nobody else may see it; a public repository that is there already is refused.
        license_id: of the data, for the card; unknown where it is not said.

    Raises:
        RecipeError: the name is wrong.
        MixtureError: there is no token, or the hub refuses.
    """

    def fill(folder: Path) -> None:
        write_hub_folder(mixture, folder, license_id)

    message = f"{mixture.label}, {mixture.outcome['num_rows']} rows"
    # Parts of a larger former mixture would be read together with the new ones.
    return hub.push(hub.Parcel("mixture", "dataset", MixtureError, fill, message, SHARDS), repo, private)
