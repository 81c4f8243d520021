"""The same verdicts wherever Ray runs the code: an alarm would work in the main thread alone, a thread of ours hangs in none."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mixray.serving.watch import taken_down
from mixray.verify import verify

ROWS = [
    # gold, answer
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("x^2+1", "x^2-1"),
    (r"(x+y+z+1)^{90}", r"(x+y+z+2)^{90}"),  # takes minutes where nobody ends it
    ("x<3", "3>x"),
    ("5", "5"),
    ("5", "6"),
    (r"1 \pm \sqrt2", r"1+\sqrt2, 1-\sqrt2"),
    (r"\sin^2 x+\cos^2 x", "1"),
    ("9^{9^{9}}", "7"),
    ("3", r"\frac{1}{}"),
    (r"\begin{pmatrix}\sqrt4\\2\end{pmatrix}", r"\begin{pmatrix}2\\2\end{pmatrix}"),
    (r"\pi", "3.14159"),
]
RIGHT, WRONG, SLOW, LARGE = "right equivalent", "wrong different", "unknown timeout", "unknown too_large"
EXPECTED = [
    RIGHT, RIGHT, WRONG, SLOW, RIGHT, "right same", "wrong different_number", "right same_elements", RIGHT, LARGE, "unknown unparsable",
    "right same_elements", "right rounded",
]  # fmt: skip


def test_in_the_main_thread_and_in_others_at_once() -> None:
    seen: list[list[str]] = []
    threads = [threading.Thread(target=lambda: seen.append(judged_here())) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert judged_here() == EXPECTED
    for thread in threads:
        thread.join()
    assert seen == [EXPECTED] * 3


def judged_here() -> list[str]:
    verdicts = verify([f"\\boxed{{{answer}}}" for _, answer in ROWS], [gold for gold, _ in ROWS])
    return [f"{verdict.verdict} {verdict.verdict_reason}" for verdict in verdicts]


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_in_tasks_actors_pools_and_replicas_of_ray() -> None:
    import ray
    from ray import serve

    rows = ROWS

    def judged() -> list[str]:
        from mixray.verify import verify

        verdicts = verify([f"\\boxed{{{answer}}}" for _, answer in rows], [gold for gold, _ in rows])
        return [f"{verdict.verdict} {verdict.verdict_reason}" for verdict in verdicts]

    @ray.remote(num_cpus=0)
    def task() -> list[str]:
        return judged()

    @ray.remote(num_cpus=0)
    class Async:
        async def judged(self) -> list[str]:
            return judged()

        async def judged_aside(self) -> list[str]:
            return await asyncio.to_thread(judged)

    @ray.remote(num_cpus=0, max_concurrency=4)
    class Threaded:
        def judged(self) -> list[str]:
            return judged()

    class InPool:
        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"told": ["|".join(judged())] * len(batch["id"])}

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Replica:
        async def __call__(self) -> list[str]:
            return judged()

    actors = (Async.remote(), Threaded.remote())
    asked = [task.remote(), actors[0].judged.remote(), actors[0].judged_aside.remote(), *(actors[1].judged.remote() for _ in range(4))]
    assert ray.get(asked, timeout=300) == [EXPECTED] * len(asked)
    for actor in actors:
        ray.kill(actor)
    pooled = ray.data.range(2).map_batches(InPool, batch_size=1, compute=ray.data.ActorPoolStrategy(size=1)).take_all()
    assert [row["told"].split("|") for row in pooled] == [EXPECTED] * 2
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 0}, proxy_location="Disabled")
        handle = serve.run(Replica.bind(), name="verdicts", route_prefix=None)
        assert handle.remote().result(timeout_s=300) == EXPECTED
    finally:
        taken_down()
