"""What several commands share: arguments with their help, and where a command's log goes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mixray.errors import MixrayError
from mixray.recipe_file import refuse_credentials
from mixray.store import Artefact
from mixray.terminal import new_log_path

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="a recipe file, or the name of a shipped one (`mixray recipes` lists them)")
]


def _without_credentials(storage: str) -> str:
    """Return a storage's address, which stands in job lists and logs; of one through another each is looked at."""
    for address in storage.split("::"):
        refuse_credentials(address, "--storage")
    return storage


StorageOption = Annotated[
    str,
    typer.Option("--storage", help="where artefacts lie: a folder, or a URL such as s3://bucket/prefix", callback=_without_credentials),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one value of the recipe; repeatable")]
AddressOption = Annotated[
    str | None, typer.Option(help="of the cluster's job server; RAY_API_SERVER_ADDRESS, RAY_ADDRESS or this machine's where unset")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


def place_of(made: Artefact, storage: str) -> str:
    """Return where an artefact lies, as the user speaks of the storage."""
    return made.path if made.store.is_local else f"{storage.rstrip('/')}/{made.label}"


def log_path(storage: str, name: str) -> Path:
    """Return a new log file's path: inside a local storage, in the temporary folder for a remote one.

    Raises:
        MixrayError: it cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / "mixray-logs" if "://" in storage else Path(storage) / "logs"
    try:
        return new_log_path(folder, name)
    except OSError as error:
        raise MixrayError(
            "The storage cannot be written", seen=f"{folder}: {error.strerror}", do="make room or pass another --storage"
        ) from error
