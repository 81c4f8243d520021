"""The artefacts of a store by what a user calls them: a name, a hash, or both as the listings show them.

In: a store, a kind, a text. Out: the one artefact that is meant, or an error that names those it may mean.
"""

from __future__ import annotations

from mixray.errors import StoreError
from mixray.recipe import nearest
from mixray.store import Artefact, Store


def folders(store: Store, kind: str) -> list[str]:
    """Return the folders of a kind; one that a killed replacement moved aside is there to be made again, not to be looked at."""
    return [folder for folder in store.folders(kind) if not folder.endswith(".replaced")]


def fitting(store: Store, kind: str, text: str) -> list[str]:
    """Return the folders that `text` may mean."""
    return [folder for folder in folders(store, kind) if text in (folder, f"{kind}/{folder}", *folder.rpartition("-")[::2])]


def open_only(store: Store, kind: str, text: str, fits: list[str]) -> Artefact:
    """Return the artefact in the only folder of `fits`.

    Args:
        store: where artefacts lie.
        kind: of artefact; without its last letter the word a user knows it by.
        text: what the user called it.
        fits: the folders that it may mean.

    Raises:
        StoreError: there is none, or several.
    """
    if len(fits) == 1:
        return store.open(kind, fits[0])
    noun = kind.removesuffix("s")
    every = folders(store, kind)
    names = list(dict.fromkeys(folder.rpartition("-")[0] for folder in every))
    known = fits or every
    raise StoreError(
        f"Several {kind} have this name" if fits else f"There is no such {noun}",
        seen=text,
        rule=f"one of {', '.join(known)}" if known else f"{store.url} holds no {noun}",
        do="give the whole name" if fits else f"see `mixray {noun} ls`{nearest(text, [*names, *every])}",
    )
