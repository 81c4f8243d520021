"""An endpoint that stands until somebody ends it, and what its owner is told meanwhile.

In: students to serve; then what Ray Serve says of them, again and again. Out: where and how to ask, a line when a student is gone and
when it is back, in the terminal and in the log, and an error when there is nothing left to come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from mixray.errors import ServingError
from mixray.models import resolve
from mixray.progress import Display
from mixray.recipe import Serve
from mixray.serving.adapters import Group, groups
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

    def __init__(self, engines: Iterable[Group], may_sleep: bool) -> None:
        """Args: `may_sleep` says that a student without a replica is well, since the first request wakes it."""
        # `ray.serve.llm` writes dots so in its deployments' names.
        self._students = {engine.name.replace(".", "_"): ", ".join(engine.names) for engine in engines}
        self.may_sleep = may_sleep
        self._gone: dict[str, str] = {}
        self._silent_since: float | None = None

    def news(self, told: ServeStatus) -> list[str]:
        """Return what is new; students that share an engine come and go together.

        Raises:
            ServingError: the application is not there any more.
        """
        self._silent_since = None
        application = told.applications.get(APP_NAME)
        if application is None or application.status == "DELETING":
            raise taken_down(f"Ray Serve has no application {APP_NAME!r} any more")
        gone = {self._shown(name): _reason(each) for name, each in application.deployments.items() if not self._lives(each)}
        news = [f"{name}: gone ({reason}); Ray Serve tries to bring it back" for name, reason in gone.items() if name not in self._gone]
        news += [f"{name}: back" for name in self._gone if name not in gone]
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

    def _shown(self, deployment: str) -> str:
        """Return the students of a deployment: `StudentServer:short` holds short."""
        name = deployment.partition(":")[2]
        return self._students.get(name, name) or f"the {deployment}"

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
        engines = groups({name: resolve(str(model)) for name, model in models.items()}, serve)
        stand_by(Vigil(engines, may_sleep=serve.replicas[0] == 0), display)


def stand_by(vigil: Vigil, display: Display) -> None:
    """Tell the news of the endpoint that is up, for ever.

    Raises:
        ServingError: somebody else took it down, or Serve is silent.
    """
    from ray import serve
    from ray.exceptions import ActorDiedError, RayError
    from ray.serve.exceptions import RayServeException

    while True:
        time.sleep(LOOK_SECONDS)
        try:
            told = serve.status()
        except ActorDiedError as error:  # a controller that crashed is unavailable until it is back; one that died was ended
            raise taken_down("Ray Serve runs no more on this cluster") from error
        except (RayError, RayServeException, TimeoutError) as error:
            vigil.silence(error, time.monotonic())
            continue
        for line in vigil.news(told):
            log.warning("%s", line)
            display.say(f"  {time.strftime('%H:%M:%S')} {escape(line)}")


def taken_down(seen: str) -> ServingError:
    """Return the error that ends a vigil with nothing left to come back."""
    return ServingError(
        "The endpoint was taken down by somebody else",
        seen=seen,
        do="serve it again; `serve shutdown` or another program on this cluster may have ended it",
    )


def _reason(deployment: DeploymentStatusOverview) -> str:
    return reason_in(deployment.message) if deployment.message.strip() else "no replica runs"
