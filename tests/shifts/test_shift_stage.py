"""The stage: which responses are drawn, what names its artefacts, what it writes, and that the number of actors changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_up_arms import answers

from mixray import chat
from mixray.errors import MixrayError
from mixray.progress import Display, StageProgress
from mixray.recipe import Shifts
from mixray.shifts import Answered, handle, run, stage
from mixray.shifts.actor import ANSWERED, SHIFT, ShiftActor
from mixray.store import Artefact, Store
from mixray.tiny import problems, styles

PROMPT = {"digits": "Solve. {question}"}
SETTINGS = Shifts(num_responses=50)


def tiny_answers(store: Store, arm: str, style: str, num: int = 80) -> Artefact:
    tiny = problems.take("test", num, (1, 5), seed=3)
    return answers(store, arm, [(problem.question, styles.write(style, problem)) for problem in tiny], finish_reason="stop")


def test_the_same_samples_are_drawn_of_every_arm_and_more_hold_fewer(store: Store) -> None:
    def drawn(style: str, num: int, seed: int = 0) -> set[str]:
        return {row["problem_id"] for row in stage.draw(scores[style], Shifts(num_responses=num), seed)}

    scores = {style: tiny_answers(store, style, style) for style in ("long", "short")}
    assert drawn("long", 20) == drawn("short", 20)
    assert drawn("long", 5) < drawn("long", 20) < drawn("long", 80) == drawn("long", 10_000)
    assert len(drawn("long", 5)) == 5
    assert drawn("long", 20, seed=1) != drawn("long", 20)


def test_failed_questions_and_responses_that_never_began_are_left_out(store: Store) -> None:
    def num(text: str, finish_reason: str) -> int:
        return len(stage.draw(answers(store, "arm", [("?", text)], finish_reason=finish_reason), SETTINGS, 0))

    assert [num("x", "error"), num("", "length"), num("x", "length"), num("", "stop")] == [0, 0, 1, 1]


def test_only_the_benchmarks_asked_for_are_drawn_from_the_longest_first(store: Store) -> None:
    scores = tiny_answers(store, "arm", "long")
    assert stage.draw(scores, Shifts(benchmarks="other"), 0) == []
    lengths = [len(row["response"]) for row in stage.draw(scores, Shifts(benchmarks="digits"), 0)]
    assert len(lengths) == 80
    assert lengths == sorted(lengths, reverse=True)


def test_what_is_read_and_how_names_an_artefact_and_what_is_told_of_it_does_not(store: Store, random_student: str) -> None:
    def name(style: str = "long", prompt: dict[str, str] = PROMPT, seed: int = 0, **said: Any) -> str:
        return handle(store, Answered("arm", scores[style], trained), random_student, Shifts(**said), prompt, seed).hash

    scores = {style: tiny_answers(store, "arm", style) for style in ("long", "short")}
    trained = store.artefact("students", "arm", {})
    retold = {"top": 3, "top_by": "shifted_share", "least_count": 1, "marginal_rank": 5, "num_positions": 4}
    assert name() == name(**retold) == name(batch_tokens=64, num_gpus=1, untouched=True)
    others = [
        name(num_responses=7), name(benchmarks=["digits"]), name(against_own=True), name(dtype="bfloat16"),
        name(prompt={"digits": "{question}"}), name(seed=1), name("short"),
    ]  # fmt: skip
    assert len({name(), *others}) == 1 + len(others)
    other = store.artefact("students", "arm", {"retrained": True})
    assert handle(store, Answered("arm", scores["long"], other), random_student, Shifts(), PROMPT, 0).hash == name()


def test_prompts_and_responses_of_another_number_of_tokens_are_counted() -> None:
    counts = [(9, 9, 2), (9, 8, 2), (9, None, 2), (9, 9, 3)]  # of the prompt here and there, of the response there
    made = [
        {"num_prompt_tokens": here, "num_prompt_tokens_asked": asked, "num_tokens_sampled": sampled, "ranks": [1, 5]}
        for here, asked, sampled in counts
    ]
    out = stage._outcome(pa.Table.from_pylist(made, schema=SHIFT))
    assert out == {"num_responses": 4, "num_tokens": 8, "unshifted": 0.5, "num_asked_otherwise": 1, "num_counted_otherwise": 1}


def test_an_arm_is_written_when_its_last_response_is_read_and_not_before(store: Store, random_student: str, quiet: StageProgress) -> None:
    drawn = {name: stage.draw(answers(store, name, [("?", "12"), ("?", "1")]), SETTINGS, 0) for name in ("first", "second")}
    actor = ShiftActor(random_student, {}, PROMPT, "float32", None, False)
    read = [actor(pa.Table.from_pylist(part, schema=ANSWERED)) for part in (drawn["first"], drawn["second"][:1])]
    blocks, meter = iter(read), stage._Meter(4, quiet)
    first, second = (store.artefact("shifts", name, {}) for name in drawn)
    stage._write(first, drawn["first"], blocks, meter)
    with pytest.raises(MixrayError, match=r"^Some responses were not read; seen: 1 of 2; rule: shifts/second"):
        stage._write(second, drawn["second"], blocks, meter)
    assert (first.is_done(), second.is_done()) == (True, False)
    assert first.read_table()["response"].to_pylist() == ["12", "1"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("shared")))


@pytest.fixture(scope="module")
def arms(shared: Store, random_student: str) -> list[Answered]:
    """A trained arm and the untouched student itself."""
    trained = shared.artefact("students", "long", {})
    with trained.staging() as staging:
        shutil.copytree(random_student, staging.folder, dirs_exist_ok=True)
    return [
        Answered("long", tiny_answers(shared, "long", "long"), trained),
        Answered("short", tiny_answers(shared, "short", "short"), None),
    ]


@pytest.fixture(scope="module")
def read(shared: Store, arms: list[Answered], random_student: str, ray_cluster: None) -> list[Artefact]:
    settings = SETTINGS.model_copy(update={"against_own": True})
    return run(shared, arms, random_student, settings, PROMPT, 0, Display(quiet=True).stage("shifts"))


@pytest.mark.e2e
def test_every_response_is_read_with_the_prompt_it_was_asked(read: list[Artefact], arms: list[Answered], random_student: str) -> None:
    tokenizer = chat.load_tokenizer(random_student)
    for artefact, arm in zip(read, arms, strict=True):
        table = artefact.read_table()
        assert table.schema.equals(SHIFT)
        drawn = stage.draw(arm.scores, SETTINGS, 0)
        assert table["problem_id"].to_pylist() == [row["problem_id"] for row in drawn]
        for row, asked in zip(table.to_pylist(), drawn, strict=True):
            assert row["num_prompt_tokens"] == len(chat.prompt_ids(tokenizer, chat.ask(asked["question"], PROMPT["digits"])))
            assert tokenizer.decode(row["token_ids"]) == asked["response"] + tokenizer.eos_token
            assert len(row["ranks"]) == len(row["surprisals"]) == len(row["words"]) == len(row["token_ids"])
            # This trained arm has the untouched student's weights; the untouched student has no weights of its own to be read by.
            assert row["own_ranks"] == (row["ranks"] if arm.trained else None)
        spellings = artefact.read_json("spellings.json")
        assert {str(token) for tokens in table["token_ids"].to_pylist() for token in tokens} == set(spellings)
        ranks = [rank for ranks in table["ranks"].to_pylist() for rank in ranks]
        assert artefact.outcome["num_responses"] == 50
        assert artefact.outcome["num_tokens"] == len(ranks)
        assert artefact.outcome["unshifted"] == ranks.count(1) / len(ranks)


@pytest.mark.e2e
def test_neither_the_number_of_actors_nor_the_order_of_rows_changes_a_digit(
    store: Store, arms: list[Answered], read: list[Artefact], random_student: str, quiet: StageProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_ACTOR_ROWS", 16)
    other = answers_again(store, arms[1].scores)
    (again,) = run(store, [Answered("short", other, None)], random_student, SETTINGS, PROMPT, 0, quiet)
    assert again.read_table().equals(read[1].read_table())
    assert again.read_json("spellings.json") == read[1].read_json("spellings.json")


def answers_again(store: Store, scores: Artefact) -> Artefact:
    """Store the same answers in another order."""
    table = scores.read_table()
    other = store.artefact("scores", "short", {"shuffled": True})
    with other.staging() as staging:
        staging.write_table("scores.parquet", table.take(random.Random(0).sample(range(table.num_rows), table.num_rows)))
    return other


@pytest.mark.e2e
def test_a_second_run_reads_nothing_and_a_new_arm_is_read_alone(
    shared: Store, arms: list[Answered], read: list[Artefact], random_student: str, quiet: StageProgress
) -> None:
    written = [artefact.store.fs.modified(f"{artefact.path}/shifts.parquet") for artefact in read]
    settings = SETTINGS.model_copy(update={"against_own": True})
    few = Answered("few", answers(shared, "few", [("?", "12")]), None)
    nothing = Answered("nothing", answers(shared, "nothing", [("?", "")]), None)
    again = run(shared, [*arms, few, nothing], random_student, settings, PROMPT, 0, quiet)
    assert again[:2] == read
    assert [artefact.store.fs.modified(f"{artefact.path}/shifts.parquet") for artefact in read] == written
    assert [artefact.outcome["num_tokens"] for artefact in again[2:]] == [2, 0]


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_a_student_that_cannot_be_loaded_is_told_by_its_own_error(
    store: Store, random_student: str, tmp_path: Path, quiet: StageProgress
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(random_student, broken)
    (broken / "model.safetensors").unlink()
    arm = Answered("few", answers(store, "few", [("?", "12")]), None)
    with pytest.raises(MixrayError, match=r"^A student cannot be loaded; seen: .*broken; rule: .*model\.safetensors"):
        run(store, [arm], str(broken), SETTINGS, PROMPT, 0, quiet)
    assert not handle(store, arm, str(broken), SETTINGS, PROMPT, 0).is_done()
