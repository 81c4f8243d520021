"""Repositories of the Hugging Face hub: the one way in which anything is pushed.

In: a repository's name, what fills a folder, the token of HF_TOKEN. Out: one commit; what else the repository holds stays.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mixray.errors import MixrayError, RecipeError

TOKEN = "HF_TOKEN"
ENDPOINT = "HF_ENDPOINT"
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class Parcel:
    """What is pushed.

    Attributes:
        noun: what it is, for messages.
        kind: of repository.
        error: the family of errors raised.
        fill: puts the files into an empty folder that does not exist yet.
        message: of the commit.
        replaced: patterns of files of a former push that go; they would be read together with the new ones.
    """

    noun: str
    kind: Literal["dataset", "model"]
    error: type[MixrayError]
    fill: Callable[[Path], None]
    message: str
    replaced: str | list[str]


def push(parcel: Parcel, repo: str, private: bool = False) -> str:
    """Push to a repository of the hub, made if it is not there; return the commit's address.

    Args:
        parcel: what to push.
        repo: `owner/name`.
        private: whether nobody else may see it; a public repository that is there already is refused.

    Raises:
        RecipeError: the name is wrong.
        MixrayError: of the parcel's family: there is no token, or the hub refuses.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo, re.ASCII):
        raise RecipeError("A repository's name is wrong", seen=repo, rule="OWNER/NAME", do="pass the owner, too, such as me/maths-half")
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise parcel.error(
            "Nothing can be pushed without a token", rule=f"{TOKEN} holds one that may write", do=f"set {TOKEN} in the environment"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="mixray-push-") as folder:
            return _push(parcel, repo, private, token, Path(folder) / "repo")
    except MixrayError:
        raise
    except Exception as error:  # the client, its transport and the hub each have errors of their own
        told = (str(error).strip() or "no reason given").splitlines()[0][:300]
        raise parcel.error(
            f"The hub did not take the {parcel.noun}",
            seen=repo,
            rule=f"{type(error).__name__}: {told}",
            do="check the token, the name and the net",
        ) from error


def check_license(license_id: str, error: type[MixrayError]) -> None:
    """Refuse what is no short name of a licence.

    Raises:
        MixrayError: of the family `error`.
    """
    if not LICENSE.fullmatch(license_id):
        raise error("A license is wrong", seen=license_id, rule="the hub's short names, such as apache-2.0", do="pass another")


def _push(parcel: Parcel, repo: str, private: bool, token: str, folder: Path) -> str:
    from huggingface_hub import HfApi

    parcel.fill(folder)
    api = HfApi(endpoint=os.environ.get(ENDPOINT), token=token)
    api.create_repo(repo, repo_type=parcel.kind, private=private or None, exist_ok=True)
    # The hub ignores `private` for a repository that is there: the data would be open to all.
    if private and not api.repo_info(repo, repo_type=parcel.kind).private:
        raise parcel.error("The repository is public", seen=repo, rule="--private was asked for", do="make it private, or name another")
    commit = api.upload_folder(
        repo_id=repo, repo_type=parcel.kind, folder_path=folder, commit_message=parcel.message, delete_patterns=parcel.replaced
    )
    return str(commit.commit_url)
