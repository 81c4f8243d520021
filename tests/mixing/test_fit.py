"""Fits: what is measured of a trace, that its neighbours in a batch and the cluster do not matter, what is stored and found again.

The plain computation that the forward pass is held against makes every logit of one trace at a time and sorts them all.
"""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GraniteConfig, PretrainedConfig, Qwen2Config, Qwen3MoeConfig

from mixray import chat, forward, models, rows
from mixray.errors import MixrayError, MixtureError
from mixray.mixing import actor, fit
from mixray.progress import Display, StageProgress
from mixray.store import Artefact, Store
from mixray.tiny import problems, styles

PROMPT = "{question}"
MAX_TOKENS = 250
# A wide spread of weights, so that logits differ, ranks pass the clip and nothing is nearly equal.
SHAPE: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None,
}  # fmt: skip
# Of the first trace of `conversations` under the shipped `student-s`, on CPU.
GOLDEN = (7.83652, 4.75245)


def conversations(style: str, num: int) -> list[chat.Messages]:
    """Problems of the tiny world, as the shipped teachers know them, with their solutions in one style."""
    return [
        [*chat.ask(problem.question, PROMPT), {"role": "assistant", "content": styles.write(style, problem)}]
        for problem in problems.take("train", num, (1, 5), seed=3)
    ]


def encoded(student: str, talks: list[chat.Messages]) -> list[chat.Encoded]:
    tokenizer = chat.load_tokenizer(student)
    return [chat.encode(tokenizer, talk) for talk in talks]


def student(source: str) -> Any:
    return forward.load_student(source, "cpu", torch.float32)


def measure(model: Any, traces: list[chat.Encoded]) -> list[actor.Fit]:
    return actor.measure(model, traces, [str(number) for number in range(len(traces))])


def plain_fit(model: Any, trace: chat.Encoded, clip: int = actor.CLIP) -> tuple[float, float]:
    """Return (perplexity, rank-surprisal ratio) the obvious way."""
    with torch.no_grad():
        logits = model(torch.tensor([trace.ids])).logits[0, :-1].double()
    surprisals, ranks = [], []
    for position in range(len(trace.ids) - trace.num_loss_tokens, len(trace.ids)):
        token = trace.ids[position]
        surprisals.append(-float(torch.log_softmax(logits[position - 1], dim=-1)[token]))
        ranks.append(1 + torch.argsort(logits[position - 1], descending=True).tolist().index(token))
    return math.exp(sum(surprisals) / len(surprisals)), sum(min(rank, clip) for rank in ranks) / sum(surprisals)


def pool_of(store: Store, traces: list[dict[str, Any]], files: int = 1) -> Artefact:
    """Store traces as a pool of `files` files."""
    pool = store.artefact("pools", "teacher", {"traces": rows.digest(traces)})
    size = math.ceil(len(traces) / files)
    with pool.staging() as staging:
        for number in range(files):
            part = traces[number * size : (number + 1) * size]
            staging.write_table(f"part-{number:05d}.parquet", pa.Table.from_pylist(part, schema=rows.TRACE))
    return pool


def made_up(style: str, num: int) -> list[dict[str, Any]]:
    """Make up a right trace for every problem; every third has a wrong and a looping one beside it."""
    made = []
    for number, talk in enumerate(conversations(style, num)):
        kinds = [("right", "ok"), ("wrong", "ok"), ("right", "looping")]
        for sample, (verdict, status) in enumerate(kinds if number % 3 == 0 else kinds[:1]):
            made.append(
                {
                    "trace_id": rows.trace_id(f"{style}-{number:03d}", "teacher", sample),
                    "problem_id": f"{style}-{number:03d}",
                    "teacher": "teacher",
                    "sample": sample,
                    "question": talk[0]["content"],
                    "response": talk[1]["content"],
                    "verdict": verdict,
                    "status": status,
                }
            )
    return made


STUDENTS: dict[str, PretrainedConfig] = {
    "tied": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "untied": Qwen2Config(**SHAPE, tie_word_embeddings=False),
    "capped logits": Gemma2Config(**SHAPE, head_dim=16, final_logit_softcapping=2.0, sliding_window=16),
    "scaled logits": GraniteConfig(**SHAPE, logits_scaling=0.25),
    "experts": Qwen3MoeConfig(**SHAPE, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32),
    "learned positions": GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=512, vocab_size=512, initializer_range=0.3),
}


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_measures_are_those_of_the_plain_computation(
    kind: str, random_student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(STUDENTS[kind]).save_pretrained(tmp_path)
    model, plain = student(str(tmp_path)), AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    sample = encoded(random_student, conversations("short", 12) + conversations("long", 2))
    monkeypatch.setattr(forward, "HEAD_BYTES", 512 * 4 * 10)  # ten positions at a time
    assert any(int(ranks.max()) > actor.CLIP for _, ranks in forward.surprise(model, sample)), "the clip must bite"
    for trace, measured in zip(sample, measure(model, sample), strict=True):
        perplexity, rank_surprisal = plain_fit(plain, trace)
        assert measured.perplexity == pytest.approx(perplexity, rel=1e-5)
        assert measured.rank_surprisal == pytest.approx(rank_surprisal, rel=1e-5)


def test_a_shipped_student_gives_the_golden_fit() -> None:
    source = models.resolve("tiny:student-s")
    (measured,) = measure(student(source), encoded(source, conversations("short", 1)))
    assert (measured.perplexity, measured.rank_surprisal) == pytest.approx(GOLDEN, rel=1e-5)


def test_ranks_start_at_one_and_equal_logits_do_not_count() -> None:
    logits = torch.tensor([[3.0, 1.0, 1.0, 0.0]]).repeat(4, 1)
    surprisals, ranks = forward._surprise(logits, torch.tensor([0, 1, 2, 3]))
    assert ranks.tolist() == [1, 2, 2, 4]
    nearly_equal = torch.tensor([[1e6, 1e-6, 0.0]])
    assert forward._surprise(nearly_equal, torch.tensor([2]))[1].tolist() == [3], "logits are compared as they are, not after a shift"
    assert surprisals.tolist() == pytest.approx([-value for value in torch.log_softmax(logits[0].double(), dim=-1).tolist()])


def test_a_student_that_is_certain_of_every_token_has_a_finite_ratio() -> None:
    certain = actor._fit(torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.int64), "a trace")
    assert (certain.perplexity, certain.rank_surprisal) == (1.0, 1e9)


def test_the_measures_have_six_digits() -> None:
    measured = actor._fit(torch.tensor([math.log(123.456789)], dtype=torch.float64), torch.tensor([1000]), "a trace")
    assert (measured.perplexity, measured.rank_surprisal) == (123.457, 20.7646)


def test_batches_hold_every_row_once_within_their_size() -> None:
    lengths = [5, 90, 30, 5, 31, 200, 6]
    assert list(forward.batches(lengths, 64)) == [[5], [1], [4, 2], [6, 0, 3]]
    assert list(forward.batches([], 64)) == []


def test_what_stands_beside_a_trace_does_not_matter(random_student: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sample = student(random_student), encoded(random_student, conversations("short", 20) + conversations("long", 5))
    told = measure(model, sample)
    for seed, most_tokens in enumerate([1, 300, 100_000]):
        monkeypatch.setattr(forward, "BATCH_TOKENS", {"cpu": most_tokens})
        order = random.Random(seed).sample(range(len(sample)), len(sample))
        again = measure(model, [sample[number] for number in order])
        for number, measured in zip(order, again, strict=True):
            assert measured.perplexity == pytest.approx(told[number].perplexity, rel=2e-6)
            assert measured.rank_surprisal == pytest.approx(told[number].rank_surprisal, rel=2e-6)


def test_bfloat16_weights_give_about_the_same_with_logits_that_are_not_rounded() -> None:
    source = models.resolve("tiny:student-s")
    sample = encoded(source, conversations("short", 8))
    rounded = forward.load_student(source, "cpu", torch.bfloat16)
    assert rounded.get_input_embeddings().weight.dtype == torch.bfloat16
    for full, half in zip(measure(student(source), sample), measure(rounded, sample), strict=True):
        assert half.perplexity == pytest.approx(full.perplexity, rel=0.05)
        assert half.rank_surprisal == pytest.approx(full.rank_surprisal, rel=0.05)
    logits = forward._logits(rounded, *body(rounded, sample[0]))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def body(model: Any, trace: chat.Encoded) -> tuple[Any, torch.Tensor]:
    with torch.inference_mode():
        out = model.base_model(input_ids=torch.tensor([trace.ids]), use_cache=False)
    return out, out.last_hidden_state[0]


def test_a_trace_fits_its_own_writer_better_than_its_words_in_disorder_do() -> None:
    source = models.resolve("tiny:short")
    talks = conversations("short", 5)
    scrambled = []
    for number, (question, answer) in enumerate(talks):
        words = answer["content"].split()
        random.Random(number).shuffle(words)
        scrambled.append([question, {"role": "assistant", "content": " ".join(words)}])
    writer = student(source)
    for own, other in zip(measure(writer, encoded(source, talks)), measure(writer, encoded(source, scrambled)), strict=True):
        assert 1 <= own.perplexity < 1.1 < 3 < other.perplexity


def test_logits_that_are_not_finite_are_told_with_the_trace(random_student: str) -> None:
    model = student(random_student)
    torch.nn.init.constant_(model.base_model.norm.weight, math.nan)
    with pytest.raises(MixtureError, match="not finite; seen: mean surprisal nan on trace 0"):
        measure(model, encoded(random_student, conversations("short", 1)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store for the pool that several tests look at."""
    return Store(str(tmp_path_factory.mktemp("shared")))


@pytest.fixture(scope="module")
def pool(shared: Store) -> Artefact:
    """Short traces of 60 problems, then ten long ones that are partly too long; every third has wrong and looping ones beside it."""
    return pool_of(shared, made_up("short", 60) + made_up("long", 10), files=3)


@pytest.fixture(scope="module")
def fits(shared: Store, pool: Artefact, random_student: str, ray_cluster: None) -> Artefact:
    """The pool's fits."""
    return fit.run(shared, pool, random_student, PROMPT, MAX_TOKENS, Display(quiet=True).stage("fit"))


def test_accepted_traces_alone_are_measured_in_the_pools_order(pool: Artefact, fits: Artefact, random_student: str) -> None:
    table = fits.read_table()
    assert table.schema.equals(fit.FIT)
    accepted = [row for row in pool.read_table().to_pylist() if rows.accepted(row)]
    assert len(accepted) == 70 < pool.read_table().num_rows
    assert table["trace_id"].to_pylist() == [row["trace_id"] for row in accepted]
    assert table["problem_id"].to_pylist() == [row["problem_id"] for row in accepted]
    talks = [[*chat.ask(row["question"], PROMPT), {"role": "assistant", "content": row["response"]}] for row in accepted]
    sample, model = encoded(random_student, talks), student(random_student)
    assert table["num_loss_tokens"].to_pylist() == [trace.num_loss_tokens for trace in sample]
    too_long = [len(trace.ids) > MAX_TOKENS for trace in sample]
    assert 0 < sum(too_long) <= 10
    for row, trace, long in zip(table.to_pylist(), sample, too_long, strict=True):
        expected = (None, None) if long else pytest.approx(plain_fit(model, trace), rel=1e-5)
        assert (row["perplexity"], row["rank_surprisal"]) == expected
    told = fits.outcome
    assert told["num_traces"] == 70
    assert told["num_too_long"] == 70 - told["num_measured"] == sum(too_long)
    assert told["tokens"] == sum(len(trace.ids) for trace, long in zip(sample, too_long, strict=True) if not long)
    perplexities = [value for value in table["perplexity"].to_pylist() if value is not None]
    assert told["mean_perplexity"] == pytest.approx(sum(perplexities) / len(perplexities))
    measured = measure(model, [trace for trace, long in zip(sample, too_long, strict=True) if not long])
    ratio = sum(trace.mean_rank for trace in measured) / sum(trace.mean_surprisal for trace in measured)
    assert told["pool_rank_surprisal"] == pytest.approx(ratio, rel=1e-5)
    assert told["seconds"] > 0


def test_a_second_run_finds_it(pool: Artefact, fits: Artefact, random_student: str, quiet: StageProgress) -> None:
    written = fits.store.fs.modified(f"{fits.path}/fits.parquet")
    assert fit.run(fits.store, pool, random_student, PROMPT, MAX_TOKENS, quiet).hash == fits.hash
    assert fits.store.fs.modified(f"{fits.path}/fits.parquet") == written


def test_the_layout_of_the_pools_files_changes_no_digit(
    store: Store, pool: Artefact, fits: Artefact, random_student: str, quiet: StageProgress
) -> None:
    other = pool_of(store, pool.read_table().to_pylist(), files=7)
    assert fit.run(store, other, random_student, PROMPT, MAX_TOKENS, quiet).read_table().equals(fits.read_table())


@pytest.mark.usefixtures("ray_cluster")
def test_a_student_that_cannot_be_loaded_is_told(
    store: Store, pool: Artefact, random_student: str, quiet: StageProgress, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(random_student, broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(MixrayError, match=r"^A student cannot be loaded; seen: .*broken; rule: .*model\.safetensors"):
        fit.run(store, pool, str(broken), PROMPT, MAX_TOKENS, quiet)
    assert not fit.handle(store, pool, str(broken), PROMPT, MAX_TOKENS).is_done()


def test_a_pool_without_accepted_traces_gives_an_empty_table_and_needs_no_cluster(
    store: Store, random_student: str, quiet: StageProgress
) -> None:
    wrong = [row | {"verdict": "wrong"} for row in made_up("short", 3)]
    fits = fit.run(store, pool_of(store, wrong), random_student, PROMPT, MAX_TOKENS, quiet)
    assert fits.read_table().equals(fit.FIT.empty_table())
    assert fits.outcome["num_traces"] == fits.outcome["num_measured"] == 0


def test_the_hash_follows_what_is_measured_and_nothing_else(store: Store, pool: Artefact, random_student: str, tmp_path: Path) -> None:
    def hash_of(pool: Artefact = pool, model: str = random_student, prompt: str = PROMPT, max_tokens: int = MAX_TOKENS) -> str:
        return fit.handle(store, pool, model, prompt, max_tokens).hash

    copy, trained = tmp_path / "copy", tmp_path / "trained"
    shutil.copytree(random_student, copy)
    shutil.copytree(random_student, trained)
    weights = load_file(trained / "model.safetensors")
    weights["model.norm.weight"] += 1e-3
    save_file(weights, trained / "model.safetensors", metadata={"format": "pt"})
    others = [
        hash_of(model=str(trained)),
        hash_of(prompt="Solve: {question}"),
        hash_of(max_tokens=MAX_TOKENS + 1),
        hash_of(pool_of(store, made_up("long", 2))),
    ]
    assert hash_of() == hash_of(model=str(copy)), "where a model lies does not matter"
    assert len({hash_of(), *others}) == 5
    assert fit.handle(store, pool, random_student, PROMPT, MAX_TOKENS).label.startswith("fits/teacher-")
    settings = fit.handle(store, pool, random_student, PROMPT, MAX_TOKENS).made_by["settings"]
    assert settings.keys() == {"model", "student_prompt", "clip", "max_tokens"}
