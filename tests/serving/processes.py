"""The processes of Serve and of students, among those that were started from here."""

from __future__ import annotations

import contextlib

import psutil


def processes(*words: str) -> list[psutil.Process]:
    """Return the processes with one of some words in their title."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            title = " ".join(process.cmdline())
            if any(word in title for word in words):
                found.append(process)
    return found
