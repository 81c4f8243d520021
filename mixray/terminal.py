"""Who may write to the terminal: mixray alone. Libraries, also the ones written in C, write to a log file.

While `library_noise_in` holds, file descriptors 1 and 2 lead to the log; what mixray has to say goes through the copies it made of the
real ones. Beside the log lies the same of Python's loggers for programs, `<log>.jsonl`: an object a line, each with the ids of its run,
attempt and stage (`mixray.ids`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console
from rich.table import Table

from mixray.ids import present

WIDEST_TABLE = 1000
log = logging.getLogger("mixray.terminal")

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Return a model's or a file's text with every control character spelled out, so that it can be shown but not act on a terminal."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def print_table(table: Table) -> None:
    """Print a table on standard output as wide as it must be: a name that is cut off cannot be copied."""
    Console(width=WIDEST_TABLE).print(table, soft_wrap=True)  # print's own width never exceeds the console's


class Shown:
    """A stream to a terminal that may go away, or a pipe that nobody reads any more: what cannot be shown ends nothing.

    The first write that fails is logged, and nothing is written from then on: rich would end the process at a broken pipe.
    """

    def __init__(self, file: TextIO) -> None:
        self.file, self.is_gone = file, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, text: str) -> int:
        """Write a text while that can be done."""
        if not self.is_gone:
            try:
                return self.file.write(text)
            except OSError as error:
                self._end(error)
        return len(text)

    def flush(self) -> None:
        """Write what waits, while that can be done."""
        if not self.is_gone:
            try:
                self.file.flush()
            except OSError as error:
                self._end(error)

    def close(self) -> None:
        """Close the stream; what could not be written is still in its buffer, and is let go."""
        with contextlib.suppress(OSError):
            self.file.close()

    def _end(self, error: OSError) -> None:
        self.is_gone = True
        log.warning("the terminal is gone, and nothing more is shown: %s", error)


def shown(file: TextIO) -> TextIO:
    """Return a stream whose failures end nothing."""
    return file if isinstance(file, Shown) else cast(TextIO, Shown(file))


@dataclass(frozen=True)
class Terminal:
    """The real standard output and error, and the file that takes everything else.

    What goes to standard error is only shown, and its failures end nothing (`Shown`); an answer that cannot be written is an error.
    """

    out: TextIO
    err: TextIO
    log_path: Path

    def answer(self, text: str) -> None:
        """Print a line on the real standard output."""
        print(text, file=self.out, flush=True)


class _HarmlessFormatter(logging.Formatter):
    """Lines that may quote a model or a client; who reads the log reads it in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


class LinesOfJson(logging.Formatter):
    """An object for each record: when, how bad, who, what, the ids, and what the record has in `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        about = {"time": record.created, "level": record.levelname, "logger": record.name, "text": record.getMessage(), **present()}
        if record.exc_info:
            about["trace"] = self.formatException(record.exc_info)
        return json.dumps(about | getattr(record, "facts", {}), default=str)


def new_log_path(folder: Path, name: str) -> Path:
    """Return the path of a new log file `<folder>/<name>-<time>-<pid>.log`; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


@contextlib.contextmanager
def library_noise_in(log_path: Path) -> Iterator[Terminal]:
    """Send everything but mixray's own words to a log file for the block; an error's traceback goes there too."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Child processes must inherit the log, never the terminal: os.dup gives descriptors that are closed in them.
    real = [os.dup(1), os.dup(2)]
    with (
        log_path.open("ab", buffering=0) as noise,
        os.fdopen(real[0], "w") as out,
        contextlib.closing(shown(os.fdopen(real[1], "w"))) as err,
    ):
        os.dup2(noise.fileno(), 1)
        os.dup2(noise.fileno(), 2)
        handlers = [logging.FileHandler(log_path), logging.FileHandler(log_path.with_suffix(".jsonl"), delay=True)]
        handlers[0].setFormatter(_HarmlessFormatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        handlers[1].setFormatter(LinesOfJson())
        logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
        try:
            yield Terminal(out, err, log_path)
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide the error that says so
                noise.write(harmless(traceback.format_exc()).encode(errors="backslashreplace"))
            error.__dict__["log_path"] = str(log_path)  # told with the message, where there is one
            raise
        finally:
            for flush in (sys.stdout.flush, sys.stderr.flush, *(handler.close for handler in handlers)):
                with contextlib.suppress(OSError):
                    flush()
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            for handler in handlers:
                logging.getLogger().removeHandler(handler)
