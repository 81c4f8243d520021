"""Serving: students behind one OpenAI-compatible endpoint on Ray Serve, with a key in front."""

from mixray.serving.endpoint import Endpoint, serve_students
from mixray.serving.openness import check
from mixray.serving.vigil import serve_forever

__all__ = ["Endpoint", "check", "serve_forever", "serve_students"]
