"""Every ZeRO stage computes what plain PyTorch computes, and a checkpoint goes on with any number of workers. Real DeepSpeed over gloo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gang
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mixray.recipe import Train
from mixray.training.alone import LAST, records_in
from mixray.training.batch import collate
from mixray.training.settings import learning_rate
from mixray.training.student import load_student

pytestmark = pytest.mark.e2e
TRAIN: dict[str, Any] = {
    "epochs": 2, "learning_rate": 2e-3, "warmup_share": 0.2, "weight_decay": 0.01, "batch_tokens": 1536, "max_tokens": 512,
    "micro_batch_tokens": 512, "dtype": "float32", "checkpoint_every_steps": 2,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "zero-0": {"zero_stage": 0},
    "zero-1": {"zero_stage": 1},
    "zero-2": {"zero_stage": 2},
    "zero-3": {"zero_stage": 3},
    "zero-2-adapters": {"zero_stage": 2, "lora": {"rank": 4}},
    "zero-3-adapters": {"zero_stage": 3, "lora": {"rank": 4}},
    "zero-2-offload": {"zero_stage": 2, "offload_optimizer": True},
    "zero-3-offload": {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True, "gradient_checkpointing": True},
    "zero-1-bfloat16": {"zero_stage": 1, "dtype": "bfloat16"},
    "zero-2-bfloat16": {"zero_stage": 2, "dtype": "bfloat16"},
    "zero-3-bfloat16": {"zero_stage": 3, "dtype": "bfloat16"},
}
FLOAT32 = [name for name in KINDS if "bfloat16" not in name]
FULL = ["zero-0", "zero-1", "zero-2", "zero-3", "zero-2-offload", "zero-3-offload"]
_GOLDEN = [6.259281754493713, 5.992352545261383, 5.781045198440552, 5.599148511886597, 5.529873251914978, 5.414706707000732]
# ZeRO 3 adds up in another order, once.
GOLDEN = {"zero-1": _GOLDEN, "zero-2": _GOLDEN, "zero-3": [_GOLDEN[0], 5.992352485656738, *_GOLDEN[2:]]}


def order_of(student: str, folder: Path, kinds: list[str], stop_after: int | None = None) -> list[dict[str, Any]]:
    return [
        {"student": student, "folder": str(folder / kind), "train": {**TRAIN, **KINDS[kind]}, "stop_after": stop_after} for kind in kinds
    ]


@pytest.fixture(scope="module")
def calm(random_student: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind trained by two workers that nobody disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    gang.run(folder, 2, order_of(random_student, folder, list(KINDS)))
    return folder


@pytest.fixture(scope="module")
def changed(random_student: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind trained by two workers up to a checkpoint, by one up to the next, and by two to the end."""
    folder = tmp_path_factory.mktemp("changed")
    for world_size, stop_after in ((2, 2), (1, 4), (2, None)):
        gang.run(folder, world_size, order_of(random_student, folder, list(KINDS), stop_after))
    return folder


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in records_in(folder)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / LAST / "student" / "model.safetensors")


@pytest.fixture(scope="module")
def plain(random_student: str) -> dict[str, Any]:
    """The same steps by PyTorch alone: one process, every row by itself, no DeepSpeed, no packing."""
    train = Train.model_validate({**TRAIN, "zero_stage": 0})
    work = gang.work_of(random_student, train)
    student = load_student(random_student, train)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1.0, weight_decay=train.weight_decay)
    curve = []
    for number in range(len(work.plan)):
        step = work.plan.step(number)
        total = 0.0
        for row in (row for pack in step.packs for row in pack):
            loss = student(collate([work.rows[row]], 0)) / step.num_loss_tokens
            loss.backward()
            total += float(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), train.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(number, len(work.plan), train)
        optimizer.step()
        optimizer.zero_grad()
        curve.append((total, float(norm)))
    return {"curve": curve, "weights": student.model.state_dict()}


@pytest.mark.parametrize("kind", FULL)
def test_every_stage_agrees_with_plain_pytorch(kind: str, calm: Path, plain: dict[str, Any]) -> None:
    records = records_in(calm / kind)
    assert [record["loss"] for record in records] == pytest.approx([loss for loss, _ in plain["curve"]], rel=2e-5)
    assert [record["grad_norm"] for record in records] == pytest.approx([norm for _, norm in plain["curve"]], rel=1e-3)
    trained = weights(calm / kind)
    for name, tensor in trained.items():
        assert torch.allclose(tensor, plain["weights"][name], atol=2e-4), name


@pytest.mark.parametrize("kind", ["zero-1", "zero-2", "zero-3"])
def test_golden_curves(kind: str, calm: Path) -> None:
    """In full digits; a change of rounding (another number of threads, another torch) stays far within 1e-6."""
    assert losses(calm / kind) == pytest.approx(GOLDEN[kind], rel=1e-6)


@pytest.mark.parametrize("kind", list(KINDS))
def test_another_number_of_workers_goes_on_with_the_same_batches(kind: str, calm: Path, changed: Path) -> None:
    tolerance = 1e-6 if kind in FLOAT32 else 5e-3
    one, other = records_in(calm / kind), records_in(changed / kind)
    assert [record["step"] for record in other] == list(range(1, len(one) + 1))
    for count in ("num_rows", "num_tokens", "num_loss_tokens", "learning_rate"):
        assert [record[count] for record in other] == [record[count] for record in one]
    assert losses(changed / kind) == pytest.approx(losses(calm / kind), rel=tolerance)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_loss_falls_and_the_student_loads(kind: str, calm: Path) -> None:
    curve = losses(calm / kind)
    assert curve[-1] < curve[0]
    model, report = AutoModelForCausalLM.from_pretrained(calm / kind / LAST / "student", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert str(model.dtype) == f"torch.{'bfloat16' if 'bfloat16' in kind else 'float32'}"


def test_a_checkpoint_is_written_when_its_minutes_are_over_on_every_worker(random_student: str, tmp_path: Path) -> None:
    train = {**TRAIN, **KINDS["zero-2"], "checkpoint_every_steps": None, "checkpoint_every_minutes": 1e-6}
    gang.run(tmp_path, 2, [{"student": random_student, "folder": str(tmp_path / "arm"), "train": train, "stop_after": 1}])
    state = json.loads((tmp_path / "arm" / LAST / "state.json").read_text())
    assert (state["step"], state["world_size"], state["finished"]) == (1, 2, False)
    assert len(list((tmp_path / "arm" / LAST / "ds").glob("*optim_states.pt"))) == 2


@pytest.mark.parametrize("kind", ["zero-2-adapters", "zero-3-adapters"])
def test_adapters_are_exported_merged_and_unmerged(kind: str, calm: Path, random_student: str) -> None:
    from peft import PeftModel

    folder = calm / kind / LAST / "student"
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(random_student), str(folder / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(random_student)
    ids = torch.from_numpy(np.arange(3, 40)[None])
    with torch.no_grad():
        unmerged, whole, untouched = (model(input_ids=ids).logits for model in (adapted, merged, base))
    assert torch.allclose(unmerged, whole, atol=1e-4)
    assert not torch.allclose(whole, untouched, atol=1e-3)
    assert json.loads((folder / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == random_student


def test_the_last_checkpoint_says_that_everything_was_seen(calm: Path) -> None:
    state = json.loads((calm / "zero-2" / LAST / "state.json").read_text())
    records = records_in(calm / "zero-2")
    assert state["finished"]
    assert state["rows_seen"] == 2 * gang.NUM_ROWS == sum(record["num_rows"] for record in records)
    assert list((calm / "zero-2" / LAST / "student" / "tensorboard").glob("events*"))
