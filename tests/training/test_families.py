"""Every family of students is trained by the real loop and comes out as a folder that anybody loads."""

from __future__ import annotations

import json
from pathlib import Path

import architectures
import gang
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from mixray.chat import ask, load_tokenizer, prompt_ids
from mixray.training.alone import LAST, records_in

pytestmark = pytest.mark.e2e
FAMILIES = sorted(architectures.configs())
TRAIN = {
    "epochs": 1, "learning_rate": 3e-3, "batch_rows": 8, "max_tokens": 512, "micro_batch_tokens": 1024, "dtype": "float32", "zero_stage": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of each family after five steps, under ZeRO 2; the first three again under ZeRO 3, in bfloat16 and with checkpointing."""
    folder = tmp_path_factory.mktemp("families")
    trainings = []
    for name in FAMILIES:
        architectures.save(folder / "base" / name, name)
        trainings.append({"student": str(folder / "base" / name), "folder": str(folder / name), "train": TRAIN})
        other = {**TRAIN, "zero_stage": 3, "dtype": "bfloat16", "gradient_checkpointing": True}
        trainings.append({"student": str(folder / "base" / name), "folder": str(folder / f"{name}-3"), "train": other})
    gang.run(folder / "gang", 1, trainings)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_falls_in_every_family(name: str, trained: Path) -> None:
    for folder in (trained / name, trained / f"{name}-3"):
        losses = [record["loss"] for record in records_in(folder)]
        assert len(losses) == gang.NUM_ROWS // 8
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_folder_loads_without_mixray_and_asks_as_it_was_trained(name: str, trained: Path) -> None:
    folder, base = trained / name / LAST / "student", trained / "base" / name
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config._attn_implementation != "mixray_documents"
    assert "mixray" not in (folder / "config.json").read_text()
    assert not [path.name for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".py"}]
    tied = model.config.tie_word_embeddings
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    assert prompt_ids(AutoTokenizer.from_pretrained(folder), ask("1+1?")) == prompt_ids(load_tokenizer(base), ask("1+1?"))
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    assert load_tokenizer(folder).eos_token_id in (ends if isinstance(ends, list) else [ends])


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_exported_is_what_was_trained(name: str, trained: Path) -> None:
    """The folder's loss on the last step's rows lies near the last loss of the training, far below that of the base model."""
    from mixray.recipe import Train
    from mixray.training.batch import collate
    from mixray.training.student import load_student

    train = Train.model_validate(TRAIN)
    work = gang.work_of(str(trained / "base" / name), train)
    step = work.plan.step(len(work.plan) - 1)
    rows = [work.rows[row] for pack in step.packs for row in pack]

    def loss(folder: Path) -> float:
        with torch.no_grad():
            return float(load_student(str(folder), train).train(False)(collate(rows, 0))) / step.num_loss_tokens

    last = records_in(trained / name)[-1]["loss"]
    after, before = loss(trained / name / LAST / "student"), loss(trained / "base" / name)
    assert after <= last + 1e-3
    assert abs(after - last) < abs(before - last)


def test_the_settings_for_generation_are_the_base_models(trained: Path, tmp_path: Path) -> None:
    base = trained / "base" / "llama-3"
    GenerationConfig(temperature=0.6, top_p=0.9, do_sample=True, eos_token_id=[5, 7]).save_pretrained(base)
    gang.run(tmp_path / "gang", 1, [{"student": str(base), "folder": str(tmp_path / "again"), "train": {**TRAIN, "batch_rows": 40}}])
    told = json.loads((tmp_path / "again" / LAST / "student" / "generation_config.json").read_text())
    assert (told["temperature"], told["top_p"], told["do_sample"]) == (0.6, 0.9, True)
    assert told["eos_token_id"] == [load_tokenizer(base).eos_token_id, 5, 7]
