"""Rebuild the shipped models from nothing, with the project's own training stage.

In: names out of `MODELS`, a store for the work. Out: `<folder>/<name>/` with config, safetensors and tokenizer for each, and how many
problems of the validation split it solves. What survives a kill: every lesson book, every trained model in the store; the same command
goes on from there. The weights are a function of the recipes, up to the last bits that a machine's arithmetic decides.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from mixray import training
from mixray.chat import ask, encode, load_tokenizer, prompt_ids
from mixray.errors import MixrayError
from mixray.models import tiny_models_folder
from mixray.progress import Display
from mixray.rows import EXAMPLE, digest, keyed_draw
from mixray.session import ray_session
from mixray.store import Artefact, Store
from mixray.tiny.models_table import HEAD_SIZE, MODELS, Lesson, TinyModel
from mixray.tiny.problems import Problem, take
from mixray.tiny.styles import drill, write
from mixray.tiny.tokenizer import MAX_POSITIONS, save_tokenizer
from mixray.verify import verify

DIFFICULTY = (3, 5)
"""Steps of the problems the models are measured on: more than the base students are shown, as in the demo."""
NUM_PROBLEMS = 200
VALIDATION_SEED = 7
MOST_RESPONSE_TOKENS = 512
WEIGHTS = "model.safetensors"
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def build(names: Iterable[str] | None, folder: Path | None, store: Store, display: Display) -> Iterator[str]:
    """Train the named models (all where unset) and write them to `folder` (the package's own where unset).

    A model continues from the one trained beside it or, where that is not named, from the one that ships.

    Yields:
        A line for each model with the share of the validation problems it solves, decoding greedily.

    Raises:
        MixrayError: there is no recipe of that name, or a training fails.
    """
    target = folder or tiny_models_folder()
    order = in_order(MODELS if names is None else names)
    with ray_session():
        for name in order:
            student = _train(store, name, order, display)
            ship(student.local_folder(), target / name)
            line = display.stage(f"measure {name}")
            told = f"{name}: {_told(accuracy(target / name))}, trained in {student.outcome['seconds']:.0f} s"
            line.finish(told)
            yield told


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names, each after the one it continues from, where that is among them.

    Raises:
        MixrayError: there is no recipe of that name.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in MODELS:
            raise MixrayError("There is no recipe for such a tiny model", seen=name, rule=f"one of {sorted(MODELS)}")
    return sorted(wanted, key=lambda name: MODELS[name].start in wanted)


def _train(store: Store, name: str, beside: Sequence[str], display: Display) -> Artefact:
    recipe = MODELS[name]
    source = str(_start(store, name, beside, display))
    book = lesson_book(store, recipe, load_tokenizer(source))
    arm, train = f"tiny-{name}", recipe.train()
    known = training.handle(store, arm, book, source, train, recipe.seed)
    if known.is_done():
        return known
    line = display.stage(f"train {name}")
    student = training.run(store, arm, book, source, train, recipe.seed, line)
    line.finish(f"{student.outcome['num_steps']} steps, loss {student.outcome['last_loss']:.4f}")
    return student


def _start(store: Store, name: str, beside: Sequence[str], display: Display) -> Path:
    """Return the folder of what a model continues from."""
    recipe = MODELS[name]
    if recipe.start is None:
        return _random_model(store, name, recipe).local_folder()
    return _train(store, recipe.start, beside, display).local_folder() if recipe.start in beside else tiny_models_folder() / recipe.start


def _random_model(store: Store, name: str, recipe: TinyModel) -> Artefact:
    """Write a model of the recipe's shape with random weights, and the tokenizer, or find it written."""
    shape = {"width": recipe.width, "num_layers": recipe.num_layers, "seed": recipe.seed}
    artefact = store.artefact("starts", f"tiny-{name}", shape)
    with artefact.lock():
        if not artefact.is_done():
            with artefact.staging() as staging:
                tokenizer = save_tokenizer(staging.folder)
                torch.manual_seed(recipe.seed)
                Qwen2ForCausalLM(_config(recipe, tokenizer)).save_pretrained(staging.folder)
    return artefact


def _config(recipe: TinyModel, tokenizer: PreTrainedTokenizerBase) -> Qwen2Config:
    heads = recipe.width // HEAD_SIZE
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.width * 5 // 2,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        # The usual 0.02 suits widths of thousands; narrow models learn twice as slowly from it.
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def lesson_book(store: Store, recipe: TinyModel, tokenizer: PreTrainedTokenizerBase) -> Artefact:
    """Write what a model is trained on as a mixture artefact, or find it written; models with the same lessons share it."""
    pages = [
        (lesson.style, question, response)
        for number, lesson in enumerate(recipe.lessons)
        for question, response in texts(lesson, keyed_draw("tiny lesson", recipe.seed, number))
    ]
    artefact = store.artefact("lessons", "tiny", {"texts": digest(pages)})
    with artefact.lock():
        if artefact.is_done():
            return artefact
        rows = [_example(tokenizer, f"lesson-{row}", *page) for row, page in enumerate(pages)]
        with artefact.staging() as staging:
            staging.write_table("part-00000.parquet", pa.Table.from_pylist(rows, schema=EXAMPLE))
            staging.outcome = {"order": "shuffled", "num_rows": len(rows), "num_tokens": sum(row["num_tokens"] for row in rows)}
    return artefact


def _example(tokenizer: PreTrainedTokenizerBase, row_id: str, style: str, question: str, response: str) -> dict[str, Any]:
    messages = [*ask(question), {"role": "assistant", "content": response}]
    encoded = encode(tokenizer, messages)
    return {
        "messages": messages,
        "problem_id": row_id,
        "trace_id": row_id,
        "pool": style,
        "num_tokens": len(encoded.ids),
        "num_loss_tokens": encoded.num_loss_tokens,
    }


def texts(lesson: Lesson, seed: int) -> Iterable[tuple[str, str]]:
    """Return (question, response) pairs of one lesson, all from the train split."""
    random_draws = random.Random(seed)
    if lesson.style == "drill":
        return [drill(random_draws, random_draws.randint(*lesson.difficulty)) for _ in range(lesson.num_rows)]
    problems = take("train", lesson.num_rows, lesson.difficulty, seed)
    return [(problem.question, write(lesson.style, problem)) for problem in problems]


@dataclass(frozen=True)
class Accuracy:
    """How a model did on the validation draw: the share it solved, the same by number of steps, its mean response tokens."""

    right: float
    by_level: dict[int, float]
    response_tokens: float


def accuracy(folder: Path, num_problems: int = NUM_PROBLEMS) -> Accuracy:
    """Return how a model does on the first problems of the validation draw."""
    problems = take("validation", num_problems, DIFFICULTY, VALIDATION_SEED)
    responses, reasons, tokens = _answers(folder, problems)
    verdicts = verify(responses, [str(problem.answer) for problem in problems], reasons)
    right = [verdict.verdict == "right" for verdict in verdicts]
    by_level = {
        level: mean(won for won, problem in zip(right, problems, strict=True) if len(problem.steps) == level)
        for level in sorted({len(problem.steps) for problem in problems})
    }
    return Accuracy(mean(right), by_level, mean(tokens))


def _told(score: Accuracy) -> str:
    levels = ", ".join(f"{share:.0%} of {level} steps" for level, share in score.by_level.items())
    return f"{score.right:.1%} right ({levels}), {score.response_tokens:.0f} tokens"


@torch.no_grad()
def _answers(folder: Path, problems: list[Problem]) -> tuple[list[str], list[str], list[int]]:
    """Let a model answer greedily, all problems in one batch."""
    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False).train(False)
    prompts = [prompt_ids(tokenizer, ask(problem.question)) for problem in problems]
    width = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=MOST_RESPONSE_TOKENS, do_sample=False)
    responses, reasons, tokens = [], [], []
    for line in made[:, width:].tolist():
        ended = tokenizer.eos_token_id in line
        response = line[: line.index(tokenizer.eos_token_id)] if ended else line
        responses.append(tokenizer.decode(response))
        reasons.append("stop" if ended else "length")
        tokens.append(len(response))
    return responses, reasons, tokens


def ship(made: Path, target: Path) -> None:
    """Copy a model's own files, and nothing else; the weights are rounded to bfloat16, which halves what every checkout carries."""
    target.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copyfile(made / file, target / file)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(made / WEIGHTS).items()}
    save_file(weights, target / WEIGHTS, metadata={"format": "pt"})
