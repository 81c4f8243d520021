"""Trainings without Ray: a few processes that find one another through a file, and run one loop after the other.

    python gang.py ORDER.json RANK

`ORDER.json` holds `{store: FILE, world_size: N, trainings: [{student, folder, train, stop_after}, ...]}`: each training goes on from what
lies in its folder and, with `stop_after`, is left once the checkpoint of that step is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"
NUM_ROWS = 40


def run(folder: Path, world_size: int, trainings: list[dict[str, Any]]) -> None:
    """Run trainings in so many processes; raises where one fails."""
    folder.mkdir(parents=True, exist_ok=True)
    order = folder / "order.json"
    order.write_text(json.dumps({"store": str(folder / "store"), "world_size": world_size, "trainings": trainings}))
    (folder / "store").unlink(missing_ok=True)
    workers = []
    for rank in range(world_size):
        log = (folder / f"log-{rank}").open("w")
        environment = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(order), str(rank)]
        workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    codes = [worker.wait(timeout=500) for worker in workers]
    assert not any(codes), (folder / f"log-{codes.index(max(codes))}").read_text()[-3000:]


def main(order: dict[str, Any], rank: int) -> None:
    """Be one of the processes."""
    import torch

    torch.set_num_threads(1)
    world_size = order["world_size"]
    torch.distributed.init_process_group("gloo", init_method=f"file://{order['store']}", rank=rank, world_size=world_size)
    for training in order["trainings"]:
        one(training)
    torch.distributed.destroy_process_group()


def one(training: dict[str, Any]) -> None:
    """Run one training, or a part of it."""
    from mixray.recipe import Train
    from mixray.training.alone import LoneHost
    from mixray.training.loop import train

    class Left(Exception):
        """The training is to be left here."""

    class Host(LoneHost):
        def keep(self, folder: Path | None, state: Any) -> None:
            super().keep(folder, state)
            if state.step == training.get("stop_after"):
                raise Left

    folder = Path(training["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(Left):
        train(work_of(training["student"], Train.model_validate(training["train"])), Host(folder))


def work_of(student: str, train: Any) -> Any:
    """Return a small training of a student: problems of the tiny world, in short and long traces."""
    import numpy as np

    from mixray.chat import ask, cut, encode
    from mixray.tiny.problems import take
    from mixray.tiny.styles import write
    from mixray.training.checks import ready_tokenizer
    from mixray.training.loop import Work
    from mixray.training.plan import Plan, Sizes, batch_plan, plan_table
    from mixray.training.tokens import TokenRow, TokenRows

    tokenizer = ready_tokenizer(student, None)
    rows = []
    for number, problem in enumerate(take("train", NUM_ROWS, (2, 3), 0)):
        answer = {"role": "assistant", "content": write("long" if number % 5 == 0 else "short", problem)}
        whole = encode(tokenizer, [*ask(problem.question), answer])
        encoded = whole if train.cut_to is None else cut(whole, train.cut_to)
        rows.append(TokenRow(np.array(encoded.ids, np.int32), encoded.num_loss_tokens, len(whole.ids) - len(encoded.ids)))
    sizes = Sizes(train.batch_rows, train.batch_tokens, train.pack_tokens or train.max_tokens, train.epochs)
    ids = [str(number) for number in range(len(rows))]
    steps = batch_plan(ids, [len(row.ids) for row in rows], [row.num_loss_tokens for row in rows], sizes, seed=0)
    plan = Plan(plan_table(list(steps)))
    return Work("students/gang", "plans/gang", plan, TokenRows.of(rows, ids), tokenizer, student, student, train, seed=0)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]))
