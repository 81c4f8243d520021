"""Which errors of storages may be gone the next time. Pure: an error in, whether to try again out."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from mixray.errors import StoreError

PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504, 509}
PASSING_CODES = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "InternalError", "Throttling"}
PASSING_ERRNO = {errno.EBUSY, errno.ETIMEDOUT, errno.EPIPE, errno.EHOSTUNREACH, errno.ENETUNREACH, getattr(errno, "EREMOTEIO", 0)}
# By package and name, so that none of the packages need be there.
PASSING_ERRORS = {
    "aiohttp.ClientError", "azure.ServiceRequestError", "azure.ServiceResponseError", "botocore.ConnectTimeoutError",
    "botocore.CredentialRetrievalError", "botocore.EndpointConnectionError", "botocore.HTTPClientError", "botocore.IncompleteReadError",
    "botocore.MetadataRetrievalError", "botocore.ProxyConnectionError", "botocore.ResponseParserError", "google.TransportError",
    "http.IncompleteRead", "requests.ConnectionError", "requests.Timeout", "requests.ChunkedEncodingError", "urllib3.HTTPError",
}  # fmt: skip
FOR_EVER = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, StoreError)


def passes(error: BaseException) -> bool:
    """Whether an error may be gone the next time."""
    for each in causes(error):
        code, status = answer(each)
        if code in PASSING_CODES:
            return True
        if status is not None:
            return status in PASSING_STATUS
        if isinstance(each, FOR_EVER):
            return False
        if isinstance(each, TimeoutError | ConnectionError) or (isinstance(each, OSError) and each.errno in PASSING_ERRNO):
            return True
        if getattr(each, "retryable", False) is True:  # google.auth's
            return True
        if any(f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in PASSING_ERRORS for kind in type(each).__mro__):
            return True
    return False


def is_there_already(error: BaseException) -> bool:
    """Whether a file could not be made because there is one."""
    return any(isinstance(each, FileExistsError) or answer(each) in (("PreconditionFailed", 412), (None, 412)) for each in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield what the error was made from first: a filesystem's own words for it tell less."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__
    yield from reversed(chain)


def answer(error: BaseException) -> tuple[str | None, int | None]:
    """Return the code and the HTTP status a server gave, where the error tells them."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return response.get("Error", {}).get("Code"), int(status) if status else None
    for name in ("status", "status_code", "code"):  # aiohttp's, azure's, gcsfs'
        with contextlib.suppress(TypeError, ValueError):
            status = int(getattr(error, name, 0))
            if 100 <= status < 600:
                return None, status
    return None, None
