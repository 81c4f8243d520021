"""A teacher's pipeline against the bare engine: tokens each second, both sides in one run, in turns, start-up apart.

The bare engine is `LLM.generate` on all prompts at once, with the same seeds, threads and settings: what the machine can do. The same on
batches of 64, one after the other, is what a loop around it does: each batch waits for its longest answer. The pipeline is `teachers.run`
as a recipe has it: Ray Data, requests, verdicts, every block written down with fsync.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import tell

from mixray.progress import Display
from mixray.recipe import Teacher
from mixray.rows import trace_seed
from mixray.session import WORKER_ENVIRONMENT, ray_session
from mixray.store import Artefact, Store

BATCH = 64
ALL_THREADS = 2
NUM_CASES = 3
NUM_PROBLEMS = 512
# Any of these ends an answer of the untrained model, as its own end token does: one token in 60, so that lengths have a long tail.
STOP_TOKENS = list(range(100, 108))


@dataclass(frozen=True)
class Case:
    """A teacher, how many problems it is asked, and how fast it should be over the bare engine."""

    name: str
    teacher: Teacher
    num_problems: int
    target: float


def cases(folder: Path) -> Iterator[Case]:
    """Yield a model that keeps its engine busy, and one so small that the pipeline around it shows.

    The engine of the first leaves a core to everything else, as engines on GPUs do. With every core in its threads it waits whenever one
    of them is taken away for a moment, by Ray or anything else: the second case tells what that costs.
    """
    settings: dict[str, Any] = {"temperature": 1.0, "max_failed_share": 1, "max_tokens": 512, "engine": {"max_model_len": 640}}
    large = Teacher(model=untrained(folder), sampling={"stop_token_ids": STOP_TOKENS}, threads=1, **settings)
    yield Case("26 M parameters, a core left", large, NUM_PROBLEMS, 0.97)
    yield Case("26 M parameters, every core", large.model_copy(update={"threads": ALL_THREADS}), NUM_PROBLEMS, 0.97)
    yield Case("the tiny teacher, every core", Teacher(model="tiny:long", threads=ALL_THREADS, **settings), NUM_PROBLEMS, 0.85)


def untrained(folder: Path) -> str:
    """Write a Qwen2 of 26 M parameters with the tiny world's tokenizer; return its folder."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from mixray.tiny.tokenizer import save_tokenizer

    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=640, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return str(folder)


class Bare:
    """vLLM in this process, given the prompts, seeds and settings that the pipeline gives its own."""

    def __init__(self, case: Case) -> None:
        os.environ.update(WORKER_ENVIRONMENT | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
        import torch
        from vllm import LLM

        from mixray.models import resolve
        from mixray.teachers.engine import engine_arguments

        torch.set_num_threads(case.teacher.threads)
        self.teacher, self.llm = case.teacher, LLM(resolve(case.teacher.model), **engine_arguments(case.teacher))
        self.prompts = list(self._prompts(case))

    def tokens_per_second(self, batch: int) -> float:
        """Answer every prompt, so many at a time."""
        began, num_tokens = time.perf_counter(), 0
        for start in range(0, len(self.prompts), batch):
            prompts, sampling = zip(*self.prompts[start : start + batch], strict=True)
            num_tokens += sum(len(output.outputs[0].token_ids) for output in self.llm.generate(prompts, sampling, use_tqdm=False))
        return num_tokens / (time.perf_counter() - began)

    def _prompts(self, case: Case) -> Iterator[tuple[Any, Any]]:
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        from mixray.chat import ask, prompt_ids
        from mixray.tiny import problems

        teacher = self.teacher
        for row in problems.rows("train", case.num_problems, (2, 5), 0):
            ids = prompt_ids(self.llm.get_tokenizer(), ask(row["question"], teacher.prompt_template, teacher.system_prompt))
            seed = trace_seed(0, "bench", row["problem_id"], 0)
            sampling = SamplingParams(temperature=teacher.temperature, max_tokens=teacher.max_tokens, seed=seed, **teacher.sampling)
            yield TokensPrompt(prompt_token_ids=ids), sampling


def pipeline(case: Case, folder: Path) -> Artefact:
    """Make a pool in a store of its own."""
    from mixray import problems, teachers
    from mixray.recipe import ProblemSet
    from mixray.verify import POLICY, verify

    store, progress = Store(str(folder)), Display(quiet=True).stage("bench")
    asked = problems.run(store, "bench", ProblemSet(source="tiny", num_problems=case.num_problems, difficulty=(2, 5)), verify, progress)
    return teachers.run(store, "bench", case.teacher, asked, 0, teachers.Rule(verify, POLICY, unboxed=False), progress)


def compare(case: Case, rounds: int, folder: Path) -> Iterator[dict[str, object]]:
    """Tell the pipeline's speed over both ways of calling the engine; the first round is thrown away."""
    bare = Bare(case)
    seen: dict[str, list[float]] = {"generate": [], "batches": [], "pipeline": []}
    for number in range(rounds + 1):
        seen["generate"].append(bare.tokens_per_second(len(bare.prompts)))
        seen["pipeline"].append(pipeline(case, folder / str(number)).outcome["tokens_per_second"])
        seen["batches"].append(bare.tokens_per_second(BATCH))
    for side, target in (("generate", case.target), ("batches", 1.5)):
        told = "LLM.generate on all prompts" if side == "generate" else f"LLM.generate on batches of {BATCH}"
        found = [ours / theirs for ours, theirs in zip(seen["pipeline"][1:], seen[side][1:], strict=True)]
        yield tell(f"pipeline tokens/s over {told}, {case.name}", found, target)


def measure(rounds: int) -> Iterator[dict[str, object]]:
    """Tell every case's ratios; each in a process of its own, since vLLM takes a process's threads once and for all."""
    for number in range(NUM_CASES):
        command = [sys.executable, str(Path(__file__)), "--case", str(number), "--rounds", str(rounds)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        yield from (json.loads(line) for line in told.splitlines() if line.startswith("{"))


def main() -> None:
    """Measure one case; print a line of JSON for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, choices=range(NUM_CASES), required=True)
    parser.add_argument("--rounds", type=int, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as name, ray_session():
        folder = Path(name)
        case = list(cases(folder / "model"))[arguments.case]
        for told in compare(case, arguments.rounds, folder / "pools"):
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
