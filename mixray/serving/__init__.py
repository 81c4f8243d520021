"""Serving: students behind one OpenAI-compatible endpoint on Ray Serve, with a key in front."""

from mixray.serving.endpoint import Endpoint, serve_forever, serve_students

__all__ = ["Endpoint", "serve_forever", "serve_students"]
