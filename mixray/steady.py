"""Filesystems that keep at it: what fails and may pass is tried again, for a while, and then told in one message.

In: a storage's address. Out: a filesystem as fsspec makes it, whose every request survives time-outs, resets, 5xx and "slow down". A folder
of this machine is given as it is. What will not pass (no permission, no bucket, no file) is tried once.

Two layers. The filesystem's own retries, where it has any, take each request: S3's are set here, GCS and Azure come with theirs. Around
them whole operations are repeated, after a pause that doubles and is drawn at random, until `GIVE_UP_SECONDS` have gone by; then StoreError
says so. No try of one takes longer than `OPERATION_SECONDS`, since filesystems have waits without an end. Reads through an open file are
repeated as well, so also those of pyarrow, Ray Data and Ray Train. Writes through an open file have the filesystem's own retries alone,
because half of one cannot be taken back: mixray writes whole files (`pipe_file`, `put_file`).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import fsspec

from mixray.errors import StoreError
from mixray.passing import answer, causes, passes

GIVE_UP_SECONDS = 120.0
OPERATION_SECONDS = 300.0
"""What mixray reads and writes whole takes less on any line that could train anything. S3's PUT waits for "100 Continue" without an end."""
BRIEF_SECONDS = 5.0
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.25, 10.0

# What `botocore` does with a request before s3fs hears of it: "standard" repeats 5xx, throttling and lost connections, with jitter.
S3_REQUESTS = {"retries": {"mode": "standard", "total_max_attempts": 4}, "connect_timeout": 10, "read_timeout": 30}
S3_RETRIES = 2  # s3fs repeats each of those again, five times where nobody says otherwise: minutes for one request to a dead server

S3, GCS = ("s3", "s3a"), ("gs", "gcs")
REPEATED = {
    "info", "ls", "find", "glob", "cat_file", "tail", "checksum", "modified", "pipe_file", "put_file", "get_file", "cp_file", "rm_file",
    "rm", "mkdir", "makedirs",
}  # fmt: skip
BOUNDED = {"info", "ls", "find", "cat_file", "pipe_file", "rm_file"}
# One that is repeated, here or within the filesystem, finds its work done where the answer to the first was lost.
REMOVALS = {"rm_file", "rm"}


def filesystem(url: str) -> tuple[Any, str]:
    """Return the filesystem behind an address, and the path on it.

    Raises:
        StoreError: there is no such kind of storage, or what it needs is not installed.
    """
    protocol = url.partition("://")[0].split("::")[0] if "://" in url else "file"
    try:
        fs, path = fsspec.url_to_fs(url, **_options(protocol))
    except (ImportError, ValueError) as error:
        raise StoreError("The storage cannot be reached", seen=url, rule=str(error), do="check --storage") from error
    return (fs if is_local(fs) else Steady(fs)), path


def is_local(fs: Any) -> bool:
    """Whether a filesystem is this machine's own, or looks like it."""
    return "file" in fs.protocol or fs.protocol == "file"


def _options(protocol: str) -> dict[str, Any]:
    if protocol not in S3 + GCS:
        return {}
    fresh = {"use_listings_cache": False}  # what another process has just written is there
    if protocol in GCS:
        import aiohttp  # gcsfs' own; by itself it waits without end

        return fresh | {"requests_timeout": aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)}
    own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})  # what the user's environment says of fsspec goes first
    return fresh | {"config_kwargs": {**S3_REQUESTS, **own}}


_PATIENCE: ContextVar[float] = ContextVar("patience", default=math.inf)


@contextlib.contextmanager
def briefly() -> Iterator[None]:
    """Give what is asked of a storage during the block a few seconds only: for courtesies, of which nothing depends on any."""
    token = _PATIENCE.set(BRIEF_SECONDS)
    try:
        yield
    finally:
        _PATIENCE.reset(token)


class Steady:
    """A filesystem of fsspec's whose operations are repeated while that may help; all else is the filesystem's own.

    Pickled with it, so that Ray's workers and pyarrow's readers keep at it too.
    """

    def __init__(self, fs: Any) -> None:
        """Wrap a filesystem."""
        self.fs = fs
        if "s3" in fs.protocol:
            fs.retries = S3_RETRIES

    def __reduce__(self) -> tuple[Any, ...]:
        return Steady, (self.fs,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steady) and bool(self.fs == other.fs)

    def __hash__(self) -> int:
        return hash(self.fs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.fs, name)
        if name not in REPEATED:
            return found
        return functools.partial(repeated, self.fs, name, _bounded(found) if name in BOUNDED else found)

    def exists(self, path: str) -> bool:
        """Whether there is something; fsspec's own takes every error for a no."""
        return self._kind(path) is not None

    def isfile(self, path: str) -> bool:
        """Whether there is a file."""
        return self._kind(path) == "file"

    def isdir(self, path: str) -> bool:
        """Whether there is a folder."""
        return self._kind(path) == "directory"

    def _kind(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return None

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """Open a file; what is read from it is asked for again where it fails."""
        if "gs" in self.fs.protocol and mode.startswith("r"):
            options.setdefault("cache_type", "readahead")  # its own kind of cache asks past `fetcher`
        file = repeated(self.fs, "open", self.fs.open, path, mode, **options)
        cache = getattr(getattr(file, "buffer", file), "cache", None)  # text lies in a wrapper
        if cache is not None and getattr(cache, "fetcher", None) is not None:
            cache.fetcher = functools.partial(repeated, self.fs, "read", cache.fetcher, told=path)
        return file


def _bounded(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation with an end to each try, where fsspec runs it on its loop: it takes `timeout` for itself."""
    if not inspect.iscoroutinefunction(getattr(operation, "__wrapped__", None)):
        return operation

    def within(*args: Any, **options: Any) -> Any:
        return operation(*args, timeout=min(OPERATION_SECONDS, _PATIENCE.get()), **options)

    return within


def repeated(fs: Any, name: str, operation: Callable[..., Any], *args: Any, told: str = "", **options: Any) -> Any:
    """Do one operation, again and again while what goes wrong may pass.

    Raises:
        StoreError: it did not pass, or the storage will not have us.
    """
    began, tries = time.monotonic(), 0
    while True:
        try:
            return operation(*args, **options)
        except Exception as error:
            tries += 1
            if name in REMOVALS and isinstance(error, FileNotFoundError):
                return None
            path = told or next((str(arg) for arg in args if isinstance(arg, str)), "")
            seconds = time.monotonic() - began
            if not passes(error):
                _refuse_what_never_works(error, path)
                raise
            pause = random.uniform(0.5, 1) * min(MOST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(tries, 30))
            if seconds + pause > min(GIVE_UP_SECONDS, _PATIENCE.get()):
                raise StoreError(
                    "The storage does not answer", seen=f"{name} {path}: {_words(error)}", rule=f"tried {tries} times in {seconds:.0f} s",
                    do="look at the storage and the way to it, then run again: what was committed or kept is there",
                ) from error  # fmt: skip
            time.sleep(pause)
            fs.invalidate_cache()


def _refuse_what_never_works(error: Exception, path: str) -> None:
    """Say what a user can mend; other lasting errors (a file that is not there) are the caller's.

    Raises:
        StoreError: the storage will not have us.
    """
    codes = {answer(each)[0] for each in causes(error)}
    if "NoSuchBucket" in codes:
        raise StoreError(
            "The storage is not there", seen=path, rule="its bucket exists", do="make the bucket or check --storage"
        ) from error
    unknown = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
    forbidden = type(error) is OSError and str(error).startswith("Forbidden")  # gcsfs' word for 403
    if unknown or forbidden or isinstance(error, PermissionError):
        raise StoreError(
            "The storage does not let us in", seen=f"{path}: {_words(error)}", rule="what runs may list, read, write and remove there",
            do="check the credentials in the environment of every node, and the bucket's policy",
        ) from error  # fmt: skip


def _words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'without a word'}"
