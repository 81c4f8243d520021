"""Live progress: one line per stage with rows, speed, facts and time left; plain lines where there is no terminal.

What a stage begins and comes to is logged as well; `Display.at_work` is what others may tell of it meanwhile (`mixray.runs`).
"""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mixray.ids import begin_stage
from mixray.terminal import harmless, shown

PLAIN_SECONDS = 10.0
log = logging.getLogger("mixray.run")


class StageProgress:
    """One stage's line. `update(done, total, **facts)` may be called as often as one likes."""

    def __init__(self, display: Display, name: str) -> None:
        self.display, self.name = display, name
        self.started = self.last_plain = time.monotonic()
        self.task: TaskID | None = None
        self._first: tuple[float, float] | None = None
        self._began: tuple[float, int, int | None] | None = None
        self.began_at = time.time()
        self.now: dict[str, Any] = {"done": 0, "total": None, "facts": {}}
        """The last that was told."""

    def rate(self, amount: float) -> float:
        """Return how fast a growing amount has grown per second since this was first called."""
        now = time.monotonic()
        self._first = self._first or (now, amount)
        return (amount - self._first[1]) / (now - self._first[0]) if now > self._first[0] else 0.0

    def update(self, done: int, total: int | None = None, **facts: str | float) -> None:
        """Show that `done` of `total` units are done; facts such as `tokens_per_second=5200` or `right="84%"` stand beside."""
        self.now = {"done": done, "total": total, "facts": facts}
        told = harmless("  ".join(f"{key.replace('_per_', '/').replace('_', ' ')} {_short(value)}" for key, value in facts.items()))
        if self.display.rich is not None:
            if self.task is None:
                self.task = self.display.rich.add_task(self.name, total=total, told="")
            self.display.rich.update(self.task, completed=done, total=total, told=told)
        elif time.monotonic() - self.last_plain >= PLAIN_SECONDS:
            self.last_plain = time.monotonic()
            left = self._seconds_left(done, total)
            self.display.say(
                f"{self.name}: {done}{'' if total is None else f'/{total}'}  {told}" + ("" if left is None else f"  {left:,.0f} s left")
            )

    def _seconds_left(self, done: int, total: int | None) -> float | None:
        """Return how long it will take at the speed since the first look at this total; None where that cannot be said."""
        now = time.monotonic()
        if self._began is None or self._began[2] != total:
            self._began = (now, done, total)
        passed, grown = now - self._began[0], done - self._began[1]
        return None if total is None or grown <= 0 or done >= total else (total - done) * passed / grown

    def finish(self, summary: str) -> None:
        """Replace the line by what came out."""
        self.display.at_work.pop(self.name, None)
        seconds = time.monotonic() - self.started
        log.info("%s: %s", self.name, summary, extra={"facts": {"stage": self.name, "event": "finished", "seconds": round(seconds, 3)}})
        if self.display.rich is not None and self.task is not None:
            self.display.rich.remove_task(self.task)
        self.display.say(f"[green]✓[/green] {self.name:<28} {summary}  [dim]{seconds:.0f} s[/dim]")


class Display:
    """The terminal during a run. Everything goes to standard error: standard output is for the answer.

    A terminal that goes away ends nothing: the display is quiet from then on.
    """

    def __init__(self, file: TextIO | None = None, quiet: bool = False) -> None:
        self.console = Console(file=shown(file or sys.stderr), quiet=quiet, highlight=False)
        self.rich: Progress | None = None
        self.at_work: dict[str, StageProgress] = {}
        """The stages that have begun and not finished, by name."""
        if self.console.is_terminal and not quiet:
            self.rich = Progress(
                SpinnerColumn(), TextColumn("{task.description:<28}"), BarColumn(bar_width=24), MofNCompleteColumn(),
                TextColumn("[cyan]{task.fields[told]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=self.console,
            )  # fmt: skip

    def __enter__(self) -> Self:
        if self.rich is not None:
            self.rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.rich is not None:
            self.rich.stop()

    def stage(self, name: str) -> StageProgress:
        """Open a line for one stage."""
        begin_stage(name)
        log.info("%s begins", name, extra={"facts": {"stage": name, "event": "begun"}})
        self.at_work[name] = StageProgress(self, name)
        return self.at_work[name]

    def say(self, text: str) -> None:
        """Print one line above the live ones; what it quotes cannot act on the terminal."""
        self.console.print(harmless(text), soft_wrap=True)


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
