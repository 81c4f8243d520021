"""An endpoint that stands until somebody ends it, and what its owner is told meanwhile.

In: students to serve; then what Ray Serve says of them, again and again. Out: where and how to ask, a line when a student is gone and
when it is back, in the terminal and in the log, and an error when there is nothing left to come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from mixray.errors import ServingError
from mixray.progress import Display
from mixray.recipe import Serve
from mixray.serving.app import APP_NAME
from mixray.serving.endpoint import reason_in, serve_students
from mixray.serving.keys import KEY_VARIABLE
from mixray.session import logs_folder

if TYPE_CHECKING:
    from ray.serve.schema import DeploymentStatusOverview, ServeStatus

LOOK_SECONDS = 2.0
SILENCE_SECONDS = 120.0
"""How long Serve may say nothing: its controller comes back by itself after a crash."""
log = logging.getLogger("mixray.serving")


class Vigil:
    """Turns what Serve says into news: each trouble once, and its end."""

    def __init__(self, may_sleep: bool) -> None:
        """Args: `may_sleep` says that a student without a replica is well, since the first request wakes it."""
        self.may_sleep = may_sleep
        self._gone: dict[str, str] = {}
        self._silent_since: float | None = None

    def news(self, told: ServeStatus) -> list[str]:
        """Return what is new: of a student one name where it is alone in its engine, of several that of their engine.

        Raises:
            ServingError: the application is not there any more.
        """
        self._silent_since = None
        application = told.applications.get(APP_NAME)
        if application is None or application.status == "DELETING":
            raise ServingError(
                "The endpoint was taken down by somebody else",
                seen=f"Ray Serve has no application {APP_NAME!r} any more",
                do="serve it again; `serve shutdown` or another program on this cluster may have ended it",
            )
        gone = {_shown(name): _reason(each) for name, each in application.deployments.items() if not self._lives(each)}
        news = [f"{name} is gone: {reason}; Ray Serve tries to bring it back" for name, reason in gone.items() if name not in self._gone]
        news += [f"{name} is back" for name in self._gone if name not in gone]
        self._gone = gone
        return news

    def silence(self, error: Exception, now: float) -> None:
        """Bear it that Serve did not answer, for a while.

        Raises:
            ServingError: it has not answered for `SILENCE_SECONDS`.
        """
        if self._silent_since is None:
            self._silent_since = now
            log.warning("Ray Serve does not answer: %s", error)
        if now - self._silent_since >= SILENCE_SECONDS:
            raise ServingError(
                "Ray Serve does not answer any more",
                seen=f"{type(error).__name__} for {SILENCE_SECONDS:.0f} s",
                do=f"see {logs_folder()}/serve, and serve it again",
            ) from error

    def _lives(self, deployment: DeploymentStatusOverview) -> bool:
        return deployment.status != "UNHEALTHY" and (self.may_sleep or deployment.replica_states.get("RUNNING", 0) > 0)


def serve_forever(models: Mapping[str, str | Path], serve: Serve, display: Display, prompts: Mapping[str, str] | None = None) -> None:
    """Serve until interrupted; show where and how to ask, and when a student is gone or back.

    Raises:
        ServingError: it does not come up, or somebody else took it down.
    """
    progress = display.stage("serve")
    with serve_students(models, serve, progress=progress, prompts=prompts) as endpoint:
        progress.finish(f"{len(endpoint.models)} students answer")
        for warning in endpoint.warnings:
            display.say(f"  warning: {escape(warning)}")
        shown = endpoint.key if endpoint.made_key else serve.keys_file or KEY_VARIABLE
        display.say(f"  url     {endpoint.url}\n  key     {shown}\n  models  {'  '.join(endpoint.models)}\n  Ctrl-C ends it")
        stand_by(Vigil(may_sleep=serve.replicas[0] == 0), display)


def stand_by(vigil: Vigil, display: Display) -> None:
    """Tell the news of the endpoint that is up, until it is taken down."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    while True:
        time.sleep(LOOK_SECONDS)
        try:
            told = serve.status()
        except (RayError, RayServeException, TimeoutError) as error:
            vigil.silence(error, time.monotonic())
            continue
        for line in vigil.news(told):
            log.warning("%s", line)
            display.say(f"  {time.strftime('%H:%M:%S')} {escape(line)}")


def _shown(deployment: str) -> str:
    """Return a deployment's name without its kind: `StudentServer:short` is short."""
    return deployment.partition(":")[2] or f"the {deployment}"


def _reason(deployment: DeploymentStatusOverview) -> str:
    return reason_in(deployment.message) if deployment.message.strip() else "no replica runs"
