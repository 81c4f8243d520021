"""As much of the Hugging Face hub, on loopback, as taking in a data set or a model needs: every file travels inside the commit."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0" * 39 + "1"


class Hub:
    """What the hub was told, and what its one repository holds."""

    def __init__(self) -> None:
        self.url = ""
        self.token = "hf_right"
        self.kind = ""
        """Of repository, as it was asked for."""
        self.private: bool | None = None
        """None while there is no repository."""
        self.files: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.messages: list[str] = []

    def answer(self, call: str, body: bytes) -> tuple[int, Any]:
        method, _, path = call.partition(" ")
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.kind = asked.get("type") or "model"
            place = {"url": f"{self.url}/{'datasets/' if self.kind == 'dataset' else ''}{asked['organization']}/{asked['name']}"}
            if self.private is not None:
                return 409, {"error": "You already created this dataset repo"} | place
            self.private = asked.get("visibility") == "private"
            return 200, place
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return 200, {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]}
        if "/commit/" in path:
            self._commit([json.loads(line) for line in body.splitlines()])
            return 200, {
                "commitUrl": f"{self.url}{path.removeprefix('/api').removeprefix('/models')}",
                "commitOid": COMMIT,
                "success": True,
            }
        if "/tree/" in path:
            return 200, [{"type": "file", "path": name, "size": len(data), "oid": COMMIT} for name, data in self.files.items()]
        if method == "GET" and path.startswith(("/api/datasets/", "/api/models/")):
            siblings = [{"rfilename": name} for name in self.files]
            return 200, {"id": "me/half", "sha": COMMIT, "private": self.private, "siblings": siblings, "tags": []}
        return 404, {"error": f"not known here: {call}"}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            told = line["value"]
            if line["key"] == "header":
                self.messages.append(told["summary"])
            elif line["key"] == "file":
                self.files[told["path"]] = base64.b64decode(told["content"])
            elif line["key"] == "deletedFile":
                del self.files[told["path"]]


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub on a free port for the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = f"{self.command} {self.path.partition('?')[0]}"
            hub.calls.append(call)
            known = self.headers.get("Authorization") == f"Bearer {hub.token}"
            status, told = hub.answer(call, body) if known else (401, {"error": "Invalid username or password."})
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
