"""The way between the gate's process and a student's: all requests on one connection, each answered as if it were alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from mixray.serving import wire
from mixray.serving.answers import Answer
from mixray.serving.frames import packed, unpacked
from mixray.serving.handles import Replicas
from mixray.serving.wire import Address, AnswerFailedError, GateEnd, StudentEnd, WireCutError

COUNTS = st.none() | st.integers(0, 2**31)


class Cued:
    """A student who counts to `body["to"]`, and stops before `stop` until told to go on."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.go_on = asyncio.Event()

    async def answer(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        try:
            yield Answer(200, kind.encode(), streams=True, num_prompt_tokens=body["to"])
            for number in range(body["to"]):
                if number == body.get("stop"):
                    await self.go_on.wait()
                if number == body.get("fail"):
                    raise ZeroDivisionError
                await asyncio.sleep(0)
                yield b"%d" % number
        finally:
            self.ended.append(body["to"])


def between(test: Callable[[Cued, StudentEnd, GateEnd], Awaitable[Any]]) -> Any:
    """Run a test with both ends of a wire."""

    async def run() -> Any:
        student = Cued()
        end = StudentEnd(student.answer)
        gate = await GateEnd.dial(await end.listen("127.0.0.1"))
        try:
            return await asyncio.wait_for(test(student, end, gate), 120)
        finally:
            gate.close()

    return asyncio.run(run())


async def whole(gate: GateEnd, **body: Any) -> list[Answer | bytes]:
    return [piece async for piece in gate.ask("chat", body)]


@given(st.integers(100, 599), st.binary(max_size=50), st.booleans(), COUNTS, COUNTS)
def test_an_answer_arrives_as_it_was_sent(status: int, content: bytes, streams: bool, prompt: int | None, response: int | None) -> None:
    for piece in (Answer(status, content, streams, prompt, response), content):
        assert unpacked(*packed(piece)) == piece


def test_many_requests_side_by_side_get_each_their_own_answer_in_order() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        answers = await asyncio.gather(*(whole(gate, to=number) for number in range(200)))
        for number, (first, *pieces) in enumerate(answers):
            assert first == Answer(200, b"chat", True, number)
            assert pieces == [b"%d" % each for each in range(number)]
        assert gate.num_ongoing == end.num_ongoing == 0

    between(ask)


def test_a_body_of_megabytes_passes() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        assert len(await whole(gate, to=2, text="ü" * 4_000_000)) == 3

    between(ask)


def test_who_does_not_send_the_secret_is_not_heard() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        stranger = await GateEnd.dial(Address("127.0.0.1", end.address.port, b"x" * 32))
        with pytest.raises(WireCutError):
            await whole(stranger, to=1)
        assert student.ended == []

    between(ask)


def test_the_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(Address("127.0.0.1", 1, b"s3cret"))


def test_leaving_early_ends_the_work() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        async with aclosing(gate.ask("chat", {"to": 3, "stop": 1})) as pieces:
            await anext(pieces)
        while not student.ended:
            await asyncio.sleep(0.01)
        assert end.num_ongoing == gate.num_ongoing == 0
        assert len(await whole(gate, to=1)) == 2

    between(ask)


def test_an_answer_that_fails_fails_alone() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        failed, well = await asyncio.gather(whole(gate, to=5, fail=2), whole(gate, to=5), return_exceptions=True)
        assert isinstance(failed, AnswerFailedError)
        assert gate.takes_more
        assert not isinstance(well, BaseException)
        assert len(well) == 6

    between(ask)


def test_when_the_students_process_goes_whoever_waits_is_told_at_once() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        waiting = asyncio.create_task(whole(gate, to=5, stop=2))
        while not end.num_ongoing:
            await asyncio.sleep(0.01)
        end.hang_up()
        with pytest.raises(WireCutError):
            await waiting
        assert not gate.is_live
        assert not gate.takes_more
        with pytest.raises(WireCutError):
            await whole(gate, to=1)

    between(ask)


STUDENT = """
import asyncio
from mixray.serving.answers import Answer
from mixray.serving.wire import StudentEnd

async def answer(kind, body):
    yield Answer(200, b"so")

async def run():
    address = await StudentEnd(answer).listen("127.0.0.1")
    print(address.port, address.secret.hex(), flush=True)
    await asyncio.sleep(60)

asyncio.run(run())
"""


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_whoever_asks_a_process_that_was_just_killed_is_told_so(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Serve's processes run uvloop, which closes a connection a moment before its reader hears of it, and then fails whoever writes."""

    async def run(student: subprocess.Popen[str]) -> set[type]:
        assert student.stdout
        port, secret = student.stdout.readline().split()
        gate = await GateEnd.dial(Address("127.0.0.1", int(port), bytes.fromhex(secret)))
        asked = []
        for number in range(2000):  # one in each turn of the loop, also in that in which the connection is closed
            if number == 20:
                student.kill()
            asked.append(asyncio.create_task(whole(gate, to=number)))
            await asyncio.sleep(0)
        return {type(told) for told in await asyncio.gather(*asked, return_exceptions=True)}

    for _ in range(5):
        with (
            subprocess.Popen([sys.executable, "-c", STUDENT], stdout=subprocess.PIPE, text=True) as student,
            asyncio.Runner(loop_factory=loop) as runner,
        ):
            assert runner.run(run(student)) - {list} == {WireCutError}, "an answer, or the news"


def test_when_the_gate_goes_the_work_ends() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        waiting = asyncio.create_task(whole(gate, to=5, stop=2))
        while not end.num_ongoing:
            await asyncio.sleep(0.01)
        gate.close()
        with pytest.raises(WireCutError):
            await waiting
        while end.num_ongoing:
            await asyncio.sleep(0.01)
        assert student.ended == [5]

    between(ask)


def test_a_student_that_is_going_answers_what_it_was_asked_and_no_more() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        waiting = asyncio.create_task(whole(gate, to=5, stop=2))
        while not end.num_ongoing:
            await asyncio.sleep(0.01)
        drained = asyncio.create_task(end.drain())
        while gate.takes_more:
            await asyncio.sleep(0.01)
        assert not drained.done()
        student.go_on.set()
        assert len(await waiting) == 6
        await drained
        late = await GateEnd.dial(end.address)
        while late.takes_more:
            await asyncio.sleep(0.01)
        late.close()

    between(ask)


def test_a_student_whose_engine_is_gone_is_asked_no_more() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        async def dead(kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
            end.say_going()
            raise WireCutError
            yield b""

        end._answer = dead
        with pytest.raises(WireCutError):
            await whole(gate, to=1)
        assert gate.is_live
        assert not gate.takes_more

    between(ask)


def test_an_answer_that_nobody_takes_fails_alone_before_it_fills_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_UNREAD_BYTES", 1000)

    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        async with aclosing(gate.ask("chat", {"to": 100_000})) as pieces:
            await anext(pieces)
            while end.num_ongoing:
                await asyncio.sleep(0.01)
            with pytest.raises(AnswerFailedError):
                async for _ in pieces:
                    pass
        assert len(await whole(gate, to=5)) == 6

    between(ask)


class CuedHandle:
    """Tells of replicas as Serve's handle does; each call to one of them gets the next address."""

    def __init__(self, *addresses: Address) -> None:
        self.told, self.listening, self.num_calls = list(addresses), self, 0

    async def remote(self) -> Address:
        self.num_calls += 1
        await asyncio.sleep(0.05)
        return self.told.pop(0)


def test_many_that_find_no_replica_wake_one_and_one_that_goes_makes_room_for_the_next() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        other = StudentEnd(Cued().answer)
        handle = CuedHandle(end.address, await other.listen("127.0.0.1"))
        replicas = Replicas(handle, may_grow=False, wake_seconds=5)
        first = await asyncio.gather(*(replicas.least_asked() for _ in range(20)))
        assert len(set(map(id, first))) == handle.num_calls == 1
        end.say_going()
        while first[0].takes_more:
            await asyncio.sleep(0.01)
        second = await replicas.least_asked()
        assert second is not first[0]
        assert len(await whole(second, to=1)) == 2
        second.close()
        other.hang_up()

    between(ask)


def test_a_replica_that_does_not_come_is_waited_for_so_long_and_no_longer() -> None:
    async def ask(student: Cued, end: StudentEnd, gate: GateEnd) -> None:
        class Never(CuedHandle):
            async def remote(self) -> Address:
                self.num_calls += 1
                await asyncio.sleep(3600)
                raise AssertionError

        handle = Never()
        replicas = Replicas(handle, may_grow=False, wake_seconds=0.1)
        leaves = asyncio.create_task(replicas.least_asked())
        await asyncio.sleep(0.02)
        leaves.cancel()
        with pytest.raises(TimeoutError):
            await replicas.least_asked()
        assert handle.num_calls == 1, "who leaves takes no call with him, and nobody makes a second"

    between(ask)
