"""The endpoint against the bare engine's own OpenAI server; what it does with ten times what it can take, with requests that nobody should
send, and without its replica.

Both servers hold the same untrained model with the same settings and one engine thread, are up at once and asked in turns, so that
neighbours on the machine trouble both alike; the idle one takes next to nothing. Every answer has as many tokens as the others.

    python tests/bench/serving.py overhead | overload | hardships
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "serving"))

import hardships
import httpx
import load
from benchmark import SLACK, tell

from mixray.recipe import Serve
from mixray.serving import serve_students
from mixray.session import WORKER_ENVIRONMENT, ray_session

NAME, KEY = "student", "bench"
ROUTE = "/chat/completions"
CLIENTS = (1, 8, 32, 128)
ROUNDS = 3
TOKENS, MOST_TOKENS = 48, 640
# As many as there are clients: where some wait for their turn in the engine, the first token says how long, and nothing of the way to it.
SEQUENCES = CLIENTS[-1]
START_SECONDS = 180.0
RATIO, FIRST_SECONDS = 0.95, 0.010
OVER, OVER_SECONDS, REFUSED_SECONDS, GOODPUT, CALM_SECONDS = 10.0, 15.0, 0.050, 0.9, 5.0
CAPACITY_CLIENTS = 64
NUM_MALFORMED, RECOVERY_SECONDS = 10_000, 60.0
PARTS = ("overhead", "overload", "hardships")


@dataclass(frozen=True)
class Side:
    """A server: where it answers."""

    name: str
    url: str

    def ask(self, num_clients: int, num_requests: int, stream: bool) -> list[load.Reply]:
        """Have so many clients share so many requests."""
        bodies = [body(number, stream) for number in range(num_requests)]
        return asyncio.run(load.closed_loop(self.url, KEY, ROUTE, bodies, num_clients))


def body(number: int, stream: bool = False) -> dict[str, Any]:
    """Return a question; the answer's length is always the same."""
    question = f"Anna has {number} pears and buys {number + 3} more. How many has she then?"
    told = {"model": NAME, "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS}
    return told | {"temperature": 0, "ignore_eos": True, "stream": stream}


@contextlib.contextmanager
def bare(folder: str) -> Iterator[Side]:
    """Have vLLM's own OpenAI server up for the block, with a key as it checks one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--served-model-name", NAME, "--host", "127.0.0.1",
        "--port", str(port), "--api-key", KEY, "--max-num-seqs", str(SEQUENCES), "--max-model-len", str(MOST_TOKENS), "--dtype", "float32",
        "--enforce-eager", "--disable-uvicorn-access-log", "--disable-log-stats",
    ]  # fmt: skip
    environment = os.environ | WORKER_ENVIRONMENT | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process)
        yield Side("bare", f"{url}/v1")
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health").status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise RuntimeError(f"vLLM's server did not come up (exit status {process.poll()})")


@contextlib.contextmanager
def ours(folder: str, **settings: Any) -> Iterator[Side]:
    """Have mixray's endpoint up for the block, gate and all."""
    serve = Serve(port=0, max_model_len=MOST_TOKENS, threads=1, engine={"max_num_seqs": SEQUENCES}, **settings)
    with serve_students({NAME: folder}, serve, key=KEY) as endpoint:
        yield Side("mixray", endpoint.url)


def overhead(folder: str, counts: tuple[int, ...] = CLIENTS, **settings: Any) -> Iterator[dict[str, object]]:
    """Tell requests per second over the bare server's, and how much later the first token comes."""
    with bare(folder) as theirs, ours(folder, **settings) as mine:
        for num_clients in counts:
            for stream in (False, True):
                yield from _compared(theirs, mine, num_clients, stream)


def _compared(theirs: Side, mine: Side, num_clients: int, stream: bool) -> Iterator[dict[str, object]]:
    num_requests = max(12, 2 * num_clients)
    ratios, later = [], []
    for _ in range(ROUNDS + 1):
        rates, firsts = {}, {}
        for side in (theirs, mine):
            began = time.perf_counter()
            replies = side.ask(num_clients, num_requests, stream)
            rates[side.name] = len(replies) / (time.perf_counter() - began)
            firsts[side.name] = load.quantile([reply.first_seconds for reply in replies], 0.5)
            if not all(reply.whole for reply in replies):
                raise RuntimeError(f"{side.name} did not answer everything: {sorted({reply.status for reply in replies})}")
        ratios.append(rates["mixray"] / rates["bare"])
        later.append(firsts["mixray"] - firsts["bare"])
    how = f"{num_clients} clients, {'streaming' if stream else 'whole answers'}"
    yield tell(f"endpoint requests/s over the bare server's, {how}", ratios[1:], RATIO)
    if stream:
        seconds = later[1:]
        yield {
            "name": f"first token later than the bare server's, median, {how}", "unit": "seconds",
            "ratio": round(statistics.median(seconds), 4), "low": round(min(seconds), 4), "high": round(max(seconds), 4),
            "rounds": len(seconds), "target": FIRST_SECONDS, "met": statistics.median(seconds) <= FIRST_SECONDS / SLACK,
        }  # fmt: skip


def overload(folder: str) -> Iterator[dict[str, object]]:
    """Ask ten times as much as it can take; tell how fast it refuses, what is lost, what is answered, and when all is well again.

    It takes in what it answers at once, and nobody waits: with a queue, what waits there is answered first when the crowd has gone.
    """
    with ours(folder, max_ongoing=CAPACITY_CLIENTS, max_queued=0) as mine:
        mine.ask(CAPACITY_CLIENTS, 2 * CAPACITY_CLIENTS, False)
        began = time.perf_counter()
        quiet = mine.ask(CAPACITY_CLIENTS, 4 * CAPACITY_CLIENTS, False)
        peak = len(quiet) / (time.perf_counter() - began)
        calm_seconds = load.quantile([reply.seconds for reply in mine.ask(1, 12, False)], 0.5)
        began = time.perf_counter()
        replies = asyncio.run(load.open_loop(mine.url, KEY, ROUTE, body, OVER * peak, OVER_SECONDS))
        spent = time.perf_counter() - began
        calm_again = _well_again(mine, calm_seconds, began + OVER_SECONDS)
    answered = [reply for reply in replies if reply.whole]
    refused = [reply for reply in replies if reply.status in (429, 503)]
    lost = len(replies) - len(answered) - len(refused)
    p99 = load.quantile([reply.seconds for reply in refused], 0.99) if refused else float("nan")
    goodput = len(answered) / spent / peak
    told = f"{OVER:g} times the capacity ({peak:.0f} requests/s): "
    yield _figure(told + "seconds until a refusal, p99", p99, REFUSED_SECONDS, p99 <= REFUSED_SECONDS / SLACK)
    yield _figure(told + "requests neither answered whole nor refused", lost, 0, lost == 0)
    yield _figure(
        told + "refusals without Retry-After", sum(not reply.retry_after for reply in refused), 0, all(r.retry_after for r in refused)
    )
    yield _figure(told + "answers/s over the peak", goodput, GOODPUT, goodput >= SLACK * GOODPUT)
    yield _figure(
        told + "seconds after the crowd has stopped until one client is answered as before",
        calm_again,
        CALM_SECONDS,
        calm_again <= CALM_SECONDS / SLACK,
    )


def _well_again(side: Side, calm_seconds: float, ended: float) -> float:
    while time.perf_counter() - ended < 60:
        reply = side.ask(1, 1, False)[0]
        if reply.whole and reply.seconds <= 1.5 * calm_seconds:
            break
    return time.perf_counter() - ended


def hardship(folder: str) -> Iterator[dict[str, object]]:
    """Send it malformed requests, then kill its replica under load; tell what came of both."""
    with ours(folder) as mine:
        storm = hardships.storm(mine.url.removesuffix("/v1"), KEY, NAME, NUM_MALFORMED)
        killed = hardships.killed_under_load(mine.url, KEY, NAME, CLIENTS[2])
    num_answered = sum(storm.counts.values())
    told = f"{NUM_MALFORMED:,} malformed requests ({num_answered / storm.seconds:.0f}/s): "
    yield _figure(told + "answered with a 5xx, or where none may be", len(storm.bad), 0, not storm.bad)
    yield _figure(told + "not answered", NUM_MALFORMED - num_answered, 0, num_answered == NUM_MALFORMED)
    told = f"a replica killed while {CLIENTS[2]} clients ask: "
    yield _figure(told + f"wrong answers of {killed.counts[200]}", len(killed.wrong), 0, not killed.wrong)
    # A figure to state: importing vLLM alone takes most of it.
    yield _figure(told + "seconds until answers come again", killed.seconds, RECOVERY_SECONDS, killed.seconds <= RECOVERY_SECONDS)


def _figure(name: str, value: float, target: float, met: bool) -> dict[str, object]:
    return {
        "name": name,
        "ratio": round(value, 4),
        "low": round(value, 4),
        "high": round(value, 4),
        "rounds": 1,
        "target": target,
        "met": met,
    }


def measure() -> Iterator[dict[str, object]]:
    """Tell all of it; each part in a process of its own, since Ray and vLLM take a process once and for all."""
    for part in PARTS:
        told = subprocess.run([sys.executable, __file__, part], check=True, stdout=subprocess.PIPE, text=True).stdout
        yield from (json.loads(line) for line in told.splitlines() if line.startswith("{"))


def main() -> None:
    """Measure one part; print a line of JSON for each figure."""
    import pipeline

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    part = {"overhead": overhead, "overload": overload, "hardships": hardship}[parser.parse_args().part]
    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as name, ray_session():
        for told in part(pipeline.untrained(Path(name) / "model")):
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
