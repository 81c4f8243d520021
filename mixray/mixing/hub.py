"""Mixtures on the Hugging Face hub.

In: a mixture, a repository's name, a token. Out: a commit with the card and the parquet files; what else the repository holds stays.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from mixray.errors import MixrayError, MixtureError, RecipeError
from mixray.mixing.export import SHARDS, write_hub_folder
from mixray.store import Artefact

TOKEN = "HF_TOKEN"
ENDPOINT = "HF_ENDPOINT"


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
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo, re.ASCII):
        raise RecipeError("A repository's name is wrong", seen=repo, rule="OWNER/NAME", do="pass the owner, too, such as me/maths-half")
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise MixtureError(
            "Nothing can be pushed without a token", rule=f"{TOKEN} holds one that may write", do=f"set {TOKEN} in the environment"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="mixray-push-") as folder:
            return _push(mixture, repo, private, license_id, token, Path(folder) / "repo")
    except MixrayError:
        raise
    except Exception as error:  # the client, its transport and the hub each have errors of their own
        told = (str(error).strip() or "no reason given").splitlines()[0][:300]
        raise MixtureError(
            "The hub did not take the mixture",
            seen=repo,
            rule=f"{type(error).__name__}: {told}",
            do="check the token, the name and the net",
        ) from error


def _push(mixture: Artefact, repo: str, private: bool, license_id: str | None, token: str, folder: Path) -> str:
    from huggingface_hub import HfApi

    write_hub_folder(mixture, folder, license_id)
    api = HfApi(endpoint=os.environ.get(ENDPOINT), token=token)
    api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
    # The hub ignores `private` for a repository that is there: the data would be open to all.
    if private and not api.repo_info(repo, repo_type="dataset").private:
        raise MixtureError("The repository is public", seen=repo, rule="--private was asked for", do="make it private, or name another")
    commit = api.upload_folder(
        repo_id=repo,
        repo_type="dataset",
        folder_path=folder,
        commit_message=f"{mixture.label}, {mixture.outcome['num_rows']} rows",
        delete_patterns=SHARDS,  # parts of a larger former mixture would be read together with the new ones
    )
    return str(commit.commit_url)
