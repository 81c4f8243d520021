"""The command line, called as a user would."""

from __future__ import annotations

import pytest

from mixray.cli import main


def called(*arguments: str) -> int:
    """Return the exit code."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)
