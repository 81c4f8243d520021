"""The actor of a teacher's pool: blocks of problems in, part files of judged traces out, every trace with a status.

In: blocks of REQUEST rows. Out: one row of counts for each block; its traces lie in a part file by then. The actor keeps nothing: a
block whose actor is killed is asked again elsewhere, under the same ids and seeds, and written under the same name.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mixray import form, metrics
from mixray.chat import ask
from mixray.errors import MixrayError
from mixray.rows import trace_id, trace_seed
from mixray.session import log_in_actor
from mixray.teachers.parts import Stamp, write_part, written
from mixray.teachers.source import BadRequest, TeacherAnswer
from mixray.teachers.tally import Tally
from mixray.teachers.work import Work

# A start can fail for what passes, such as a device that the killed predecessor still holds; more than twice in a row is no accident.
_START_DEATHS = 2
_PAUSE_SECONDS = 2.0
log = logging.getLogger("mixray.teachers")


class TeacherActor:
    """Asks one source; calls may overlap, and should, so that the source never waits for the end of a block."""

    def __init__(self, work: Work) -> None:
        self.work, self.actor, self.started, self.first_asked = work, uuid.uuid4().hex, time.time(), 0.0
        self._num_at_hand, self._counting = 0, threading.Lock()
        log_in_actor(f"teacher {work.name}")
        note = work.attempts.begin()

        def died(error: BaseException) -> None:
            work.attempts.died(note, error)

        try:
            self.source = work.make_source(died)
        except MixrayError:
            raise  # another start would find the same
        except Exception as error:
            died(error)
            self._start_again_or_give_up()
            raise
        log.info("actor %s of teacher %s is up after %.1f s", self.actor, work.name, time.time() - self.started)

    def _start_again_or_give_up(self) -> None:
        """Go down with the process while that may help.

        Ray starts an actor again whose process died, and never one whose constructor raised, though it be a later start of an actor that
        had answered for hours.
        """
        num_died = self.work.attempts.num_died()
        if num_died <= _START_DEATHS:
            time.sleep(_PAUSE_SECONDS * num_died)
            os._exit(1)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer a block of REQUEST rows, write its part, and return its counts; a block whose part is there is not asked again."""
        self.first_asked = self.first_asked or time.time()
        done = written(self.work.store, self.work.folder, batch["position"].to_pylist())
        if done is not None:
            return done.table()
        self._take(batch.num_rows)
        try:
            rows = Block(self, batch.to_pylist()).answered()
        finally:
            self._take(-batch.num_rows)
        stamp = Stamp(self.work.run, self.actor, self.started, self.first_asked, time.time())
        write_part(self.work.store, self.work.folder, rows, stamp, self.work.fence)
        self._export(rows)
        log.info("actor %s of teacher %s wrote %d answers", self.actor, self.work.name, len(rows))
        return Tally.of(rows).table()

    def _take(self, number: int) -> None:
        """Tell the metrics that so many problems more are at hand in this actor, or so many fewer."""
        with self._counting:
            self._num_at_hand += number
            metrics.level("mixray_teacher_queue", self._num_at_hand, teacher=self.work.name)

    def _export(self, rows: list[dict[str, Any]]) -> None:
        """Tell the metrics of a block that is written."""
        name, price = self.work.name, self.work.teacher.price
        prompt, response = (sum(row[key] or 0 for row in rows) for key in ("num_prompt_tokens", "num_response_tokens"))
        metrics.count("mixray_teacher_prompt_tokens", prompt, teacher=name)
        metrics.count("mixray_teacher_response_tokens", response, teacher=name)
        cost = (prompt * price.prompt_per_million_tokens + response * price.response_per_million_tokens) / 1e6
        metrics.count("mixray_teacher_cost", cost, teacher=name, currency=price.currency)
        for verdict, number in Counter(row["verdict"] for row in rows).items():
            metrics.count("mixray_traces", number, teacher=name, verdict=verdict)
        for status, number in Counter(row["status"] for row in rows if row["status"] != "ok").items():
            metrics.count("mixray_teacher_failures", number, teacher=name, status=status)

    def __del__(self) -> None:
        """Ray Data drops the instance when the pool shrinks or ends."""
        if hasattr(self, "source"):
            self.source.close()


@dataclass
class Quest:
    """One problem on its way: what was asked of it, and what came back."""

    problem: dict[str, Any]
    asked: int = 0
    right: int = 0
    refused: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)


class Block:
    """A few problems asked side by side; each is asked again as soon as an answer shows that it must be, and never later."""

    def __init__(self, actor: TeacherActor, problems: list[dict[str, Any]]) -> None:
        self.source, self.work, self.teacher = actor.source, actor.work, actor.work.teacher
        self.quests = [Quest(problem) for problem in problems]
        self.ended: queue.SimpleQueue[tuple[Quest, int, Future[TeacherAnswer]]] = queue.SimpleQueue()
        self.flying = 0

    def answered(self) -> list[dict[str, Any]]:
        """Return the traces of every problem, in the order of the problems and their samples."""
        until = self.teacher.until
        for quest in self.quests:
            for _ in range(until.right if until else self.teacher.num_samples):
                self._ask(quest)
        while self.flying:
            arrived = self._arrived(all_of_them=until is None)
            self.work.rule.judge([row for _, row in arrived])
            for quest, row in arrived:
                quest.rows.append(row)
                quest.right += row["verdict"] == "right"
                if until and row["verdict"] != "right" and quest.asked < until.at_most and not quest.refused:
                    self._ask(quest)
        return [row for quest in self.quests for row in sorted(quest.rows, key=lambda row: row["sample"])]

    def _ask(self, quest: Quest) -> None:
        sample, problem = quest.asked, quest.problem
        quest.asked += 1
        self.flying += 1
        messages = ask(problem["question"], self.teacher.prompt_template, self.teacher.system_prompt)
        future = self.source.ask(messages, trace_seed(self.work.seed, self.work.name, problem["problem_id"], sample))
        future.add_done_callback(lambda done: self.ended.put((quest, sample, done)))

    def _arrived(self, all_of_them: bool) -> list[tuple[Quest, dict[str, Any]]]:
        """Wait for answers: for all, where none leads to another question, else for one and those that came with it."""
        arrived: list[tuple[Quest, dict[str, Any]]] = []
        while self.flying and (all_of_them or not arrived or not self.ended.empty()):
            quest, sample, future = self.ended.get()
            self.flying -= 1
            arrived.append((quest, self._row(quest, sample, future)))
        return arrived

    def _row(self, quest: Quest, sample: int, future: Future[TeacherAnswer]) -> dict[str, Any]:
        problem, name = quest.problem, self.work.name
        row = problem | {
            "trace_id": trace_id(problem["problem_id"], name, sample),
            "teacher": name,
            "sample": sample,
            "seed": trace_seed(self.work.seed, name, problem["problem_id"], sample),
            "engine": self.source.name,
            "template": self.source.template,
        }
        try:
            answer = future.result()
        except BadRequest as error:
            quest.refused = True
            return row | _nothing(str(error))
        text = form.with_thinking(
            form.storable(answer.text), self.teacher.think_tags, self.source.opens_thinking, self.teacher.thinking == "keep"
        )
        failed = answer.finish_reason not in ("stop", "length")
        return row | {
            "response": text,
            "finish_reason": "error" if failed else answer.finish_reason,
            "num_prompt_tokens": answer.num_prompt_tokens,
            "num_response_tokens": answer.num_response_tokens,
            "seconds": answer.seconds,
            "status": "error" if failed else form.status(text, answer.finish_reason),
            "error": f"it was ended: {answer.finish_reason}" if failed else None,
            "repetition": form.repetition(text),
        }


def _nothing(error: str) -> dict[str, Any]:
    return {
        "response": None,
        "finish_reason": "error",
        "num_prompt_tokens": 0,
        "num_response_tokens": 0,
        "seconds": 0.0,
        "status": "error",
        "error": form.storable(error),
        "repetition": 0.0,
    }
