"""An S3 server of our own on loopback."""

from __future__ import annotations

from contextlib import AbstractContextManager

from loopback import serving_process

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
"""What its clients need besides AWS_ENDPOINT_URL."""


def serving_s3() -> AbstractContextManager[str]:
    """Have the server for the block; give its address."""
    return serving_process(lambda port: ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])
