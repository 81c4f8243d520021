"""A server on loopback that speaks Google Cloud Storage: the emulator, with the one thing it lacks.

    python tests/real_gcs.py PORT

The emulator ignores `ifGenerationMatch=0`, "only where there is none", on which commits and leases rest: here it is answered as Google
documents it, with 412. What else Google's own servers do in their way is not shown by this.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from loopback import serving_process


def serving_gcs() -> AbstractContextManager[str]:
    """Have the server for the block; give its address, its clients' STORAGE_EMULATOR_HOST."""
    return serving_process(lambda port: [__file__, str(port)])


def once(insert: Any) -> Any:
    """Return the emulator's upload, which refuses what is there where it is asked to."""

    def refusing(request: Any, response: Any, storage: Any) -> None:
        name = request.query.get("name") or [request.data["meta"]["name"]]
        files = storage.objects.get(request.params["bucket_name"], {})
        if request.query.get("ifGenerationMatch") == ["0"] and name[0] in files:
            response.status = HTTPStatus.PRECONDITION_FAILED
        else:
            insert(request, response, storage)

    return refusing


def main() -> None:
    """Serve until ended."""
    from gcp_storage_emulator import server

    server.HANDLERS = [
        (path, {method: once(handler) if handler is server.objects.insert else handler for method, handler in handlers.items()})
        for path, handlers in server.HANDLERS
    ]
    server.Server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()


if __name__ == "__main__":
    main()
