"""The keys that open the endpoint. Only their digests are kept, so neither Serve's state nor a log can give one away.

In: MIXRAY_API_KEY, with commas between several, or a file with one key, or `name:key`, on each line. Out: `Keys`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mixray.errors import ServingError
from mixray.recipe.part import NAME

KEY_VARIABLE = "MIXRAY_API_KEY"
SHORTEST_KEY = 8
SHORTEST_OPEN_KEY = 16
"""Where others than this machine can try keys."""
NAMED = re.compile(rf"({NAME.removeprefix('^').removesuffix('$')}):(.+)")


@dataclass(frozen=True)
class Keys:
    """Who may ask: a name, for the log, and the sha256 of a key, for each."""

    digests: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, named: list[tuple[str, str]]) -> Keys:
        """Return what is kept of keys by name."""
        return cls(tuple((name, hashlib.sha256(key.encode()).digest()) for name, key in named))

    def who(self, authorization: bytes) -> str | None:
        """Return the name of the key in an Authorization header; every key is compared, in constant time."""
        scheme, _, key = authorization.partition(b" ")
        given = hashlib.sha256(key.strip()).digest()
        found: str | None = None
        for name, known in self.digests:
            if hmac.compare_digest(given, known):
                found = name
        return found if scheme.lower() == b"bearer" else None


def load_keys(keys_file: str | None, key: str | None = None) -> list[tuple[str, str]]:
    """Return (name, key) of `key`, of the file, or of MIXRAY_API_KEY, whichever is given first; none where none is.

    Raises:
        ServingError: the file cannot be read or holds no key, or a key is too short or there twice.
    """
    if key is not None:
        return [("key-1", key)]
    if keys_file is not None:
        return _checked(_read(keys_file), keys_file)
    return _checked([part.strip() for part in os.environ.get(KEY_VARIABLE, "").split(",") if part.strip()], KEY_VARIABLE, named=False)


def refuse_short(keys: list[tuple[str, str]], num_characters: int) -> None:
    """Check how long keys are.

    Raises:
        ServingError: one is shorter; it is told by its name.
    """
    for name, key in keys:
        if len(key) < num_characters:
            raise ServingError(
                "A key is too short for an endpoint that others can reach",
                seen=f"{name}: {len(key)} characters",
                rule=f"{num_characters} or more",
                do="make one with `openssl rand -hex 24`",
            )


def _read(keys_file: str) -> list[str]:
    try:
        lines = Path(keys_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise ServingError("The file of keys cannot be read", seen=f"{keys_file}: {reason}", do="check serve.keys_file") from error
    kept = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not kept:
        raise ServingError("The file of keys holds no key", seen=keys_file, rule="one key, or name:key, on each line")
    return kept


def _checked(lines: list[str], place: str, named: bool = True) -> list[tuple[str, str]]:
    """Return (name, key) of each line; what is wrong is told by its number, never with the key."""
    out: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        match = NAMED.fullmatch(line) if named else None
        name, key = (match[1], match[2].strip()) if match else (f"key-{number}", line)
        if len(key) < SHORTEST_KEY or not key.isprintable() or " " in key:
            raise ServingError(
                "A key cannot be used",
                seen=f"key {number} of {place}",
                rule=f"{SHORTEST_KEY} characters or more, without spaces",
                do="make one with `openssl rand -hex 24`",
            )
        if name in [other for other, _ in out] or key in [other for _, other in out]:
            raise ServingError("A key or its name is there twice", seen=f"key {number} of {place}", do="remove one")
        out.append((name, key))
    return out
