"""The control that cuts what is too long: what a training then reads, proves and trains, and what it is called."""

from __future__ import annotations

import json
from pathlib import Path

import gang
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from mixray import training
from mixray.chat import Encoded, cut, load_tokenizer
from mixray.errors import TrainingError
from mixray.recipe import Train
from mixray.store import Artefact, Store
from mixray.training import tokens
from mixray.training.alone import records_in
from mixray.training.batch import collate
from mixray.training.checks import check_rows
from mixray.training.tokens import TokenRow, TokenRows

LIMIT = 80
SETTINGS = Train(epochs=1, learning_rate=1e-3, batch_rows=20, max_tokens=LIMIT, too_long="cut", dtype="float32", zero_stage=1)


@pytest.fixture
def mixture(store: Store) -> Artefact:
    return store.artefact("mixtures", "mix", {})


def cut_rows(student: str) -> TokenRows:
    return gang.work_of(student, SETTINGS).rows


def test_what_was_made_before_there_was_a_choice_keeps_its_name(store: Store, mixture: Artefact, random_student: str) -> None:
    plain, cutting = (training.handle(store, "arm", mixture, random_student, Train(too_long=how), 0) for how in ("drop", "cut"))
    assert "too_long" not in plain.made_by["settings"]["train"]
    assert cutting.made_by["settings"]["train"]["too_long"] == "cut"
    kept, shorter = (tokens.handle(store, mixture, random_student, cut_to) for cut_to in (None, LIMIT))
    assert set(kept.made_by["settings"]) == {"rule", "tokenizer"}
    assert len({kept.hash, shorter.hash, tokens.handle(store, mixture, random_student, LIMIT + 1).hash}) == 3


def test_tokens_say_which_rows_were_cut_and_those_of_a_recipe_that_drops_say_nothing(tmp_path: Path) -> None:
    assert tokens.rows_schema(None).equals(tokens.ROWS)
    (tmp_path / "ids.bin").write_bytes(np.arange(7, dtype="<i4").tobytes())
    counts = {"problem_id": ["a", "b"], "num_tokens": [3, 4], "num_loss_tokens": [1, 2]}
    for lost in (None, [0, 5]):
        columns = counts if lost is None else counts | {tokens.LOST: lost}
        schema = tokens.rows_schema(None if lost is None else 4)
        rows = TokenRows.of_file(tmp_path / "ids.bin", tokens.pa.table(columns, schema=schema))
        assert [rows[number].num_cut_tokens for number in range(2)] == (lost or [0, 0])
        assert rows[1].ids.tolist() == [3, 4, 5, 6]


def test_a_cut_row_trains_its_response_up_to_the_limit_and_no_end_of_turn(random_student: str) -> None:
    end = load_tokenizer(random_student).eos_token_id
    rows = cut_rows(random_student)
    for row in (rows[number] for number in range(len(rows))):
        targets = collate([row], 0).targets_N.tolist()
        assert (end not in targets) == (row.num_cut_tokens > 0)
        assert len(row.ids) == LIMIT or not row.num_cut_tokens
    assert 0 < int(np.count_nonzero(rows.num_cut_tokens)) < len(rows)


def test_every_row_that_was_not_cut_still_ends_its_turn_and_cut_ones_are_as_long_as_the_limit(random_student: str) -> None:
    tokenizer = load_tokenizer(random_student)
    rows = cut_rows(random_student)
    check_rows(rows, tokenizer, LIMIT)
    every = [rows[number] for number in range(len(rows))]
    short, long = (next(row for row in every if bool(row.num_cut_tokens) == is_cut) for is_cut in (False, True))
    with pytest.raises(TrainingError, match="never stop"):
        check_rows(TokenRows.of([long, TokenRow(short.ids[:-1], short.num_loss_tokens - 1)]), tokenizer, LIMIT)
    with pytest.raises(TrainingError, match=r"not cut as the recipe asks.*train\.too_long=drop: no row is cut"):
        check_rows(rows, tokenizer)
    for limit in (LIMIT - 1, LIMIT + 1):
        with pytest.raises(TrainingError, match=rf"not cut as the recipe asks.*longer rows end at {limit} tokens"):
            check_rows(TokenRows.of([long]), tokenizer, limit)
    with pytest.raises(TrainingError, match="trains no token"):
        check_rows(TokenRows.of([TokenRow(long.ids, 0, 5)]), tokenizer, LIMIT)


def test_the_real_loop_trains_what_is_left_of_cut_rows(random_student: str, tmp_path: Path) -> None:
    settings = SETTINGS.model_dump(mode="json")
    gang.run(tmp_path / "gang", 1, [{"student": random_student, "folder": str(tmp_path / "arm"), "train": settings}])
    records = records_in(tmp_path / "arm")
    work = gang.work_of(random_student, SETTINGS)
    assert [record["num_loss_tokens"] for record in records] == [work.plan.step(number).num_loss_tokens for number in range(2)]
    assert sum(record["num_tokens"] for record in records) == len(work.rows.ids)
    first = [work.rows[row] for pack in work.plan.step(0).packs for row in pack]
    assert any(row.num_cut_tokens for row in first)
    assert records[0]["loss"] == pytest.approx(plain_loss(random_student, first), rel=1e-5)
    assert json.loads((tmp_path / "arm" / "last" / "student" / "config.json").read_text())["model_type"] == "qwen2"


def plain_loss(student: str, rows: list[TokenRow]) -> float:
    """The mean loss of the trained tokens of rows, each by itself, from the whole logits that transformers gives."""
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids = torch.from_numpy(row.ids.astype(np.int64))
            logits = model(input_ids=ids[None]).logits[0, -row.num_loss_tokens - 1 : -1]
            total += float(F.cross_entropy(logits, ids[-row.num_loss_tokens :], reduction="sum"))
            count += row.num_loss_tokens
    return total / count


def test_a_row_whose_prompt_leaves_nothing_to_train_is_not_cut() -> None:
    row = Encoded(list(range(10)), 4)
    assert cut(row, 7) == Encoded(list(range(7)), 1)
    assert cut(row, 6) == cut(row, 3) == cut(row, 10) == row
