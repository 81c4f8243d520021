"""Merged students: real folders, real models; what fits is merged and loads, what does not is refused in one message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_up_mixtures import make_mixture, make_pools
from made_up_students import make_student, moved
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mixray.errors import TrainingError
from mixray.progress import StageProgress
from mixray.recipe import Merging
from mixray.store import Artefact, Store
from mixray.training.merging import stage as merge
from mixray.training.merging import weights
from mixray.training.merging.parents import open_parents
from mixray.training.merging.weights import Weights

DARE = Merging(method="dare", density=0.5)


@pytest.fixture
def parents(store: Store, random_student: str) -> tuple[Artefact, Artefact]:
    mixture = make_mixture(store, "half", make_pools(store), [0, 1])
    return tuple(make_student(store, f"arm-{name}-s0", mixture, random_student, number) for number, name in enumerate(("long", "short")))  # type: ignore[return-value]


def tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    opened = Weights(Path(folder))
    return {name: opened.tensor(name) for name in opened.forms}


@pytest.mark.parametrize("how", [Merging(), Merging(method="ties", density=0.2), DARE], ids=lambda how: how.method)
def test_a_merged_student_is_a_whole_folder_that_loads(
    how: Merging, store: Store, parents: tuple[Artefact, Artefact], random_student: str, quiet: StageProgress
) -> None:
    made = merge.run(store, "merged", *parents, random_student, how, 0.2, 0, quiet)
    folder = made.local_folder()
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "1 + 1"}], add_generation_prompt=True, return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "chat_template.jinja", "README.md", "model.safetensors"} <= names
    assert not names & {"training.jsonl", "training_curve.json", "tensorboard", "adapter"}
    assert "merged in weight space" in (folder / "README.md").read_text()
    assert made.outcome["base_model"] == random_student
    assert made.outcome["merged"] == {"hard": parents[0].label, "easy": parents[1].label}
    assert (made.outcome["method"], made.outcome["alpha"]) == (how.method, 0.2)


def test_linear_weights_are_the_weighted_mean(
    store: Store, parents: tuple[Artefact, Artefact], random_student: str, quiet: StageProgress
) -> None:
    made = merge.run(store, "merged", *parents, random_student, Merging(), 0.25, 0, quiet)
    hard, easy, found = (tensors(student.path) for student in (*parents, made))
    assert found.keys() == hard.keys()
    for name, tensor in found.items():
        assert torch.allclose(tensor, 0.25 * hard[name] + 0.75 * easy[name], atol=1e-7), name


def test_a_second_merge_finds_the_first_and_another_setting_makes_another(
    store: Store, parents: tuple[Artefact, Artefact], random_student: str, quiet: StageProgress
) -> None:
    made = merge.run(store, "merged", *parents, random_student, DARE, 0.2, 0, quiet)
    written = Path(made.path, "model.safetensors").stat().st_mtime_ns
    assert merge.run(store, "merged", *parents, random_student, DARE, 0.2, 0, quiet) == made
    assert Path(made.path, "model.safetensors").stat().st_mtime_ns == written
    others = [(DARE, 0.3, 0), (DARE, 0.2, 1), (Merging(method="dare", density=0.4), 0.2, 0), (Merging(method="ties"), 0.2, 0)]
    assert len({made.hash, *(merge.handle(store, "merged", *parents, random_student, *other).hash for other in others)}) == 5


def test_shards_hold_the_same_numbers_as_one_file_and_give_the_same_merge(
    tmp_path: Path, random_student: str, store: Store, parents: tuple[Artefact, Artefact]
) -> None:
    opened = Weights(Path(random_student))
    sharded = tmp_path / "sharded"
    shutil.copytree(random_student, sharded)
    (sharded / "model.safetensors").unlink()
    weights.write(sharded, opened.forms, opened.tensor, shard_bytes=60_000)
    files = sorted(path.name for path in sharded.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert all(torch.equal(tensor, tensors(random_student)[name]) for name, tensor in tensors(sharded).items())
    index = json.loads((sharded / weights.INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(form.num_bytes for form in opened.forms.values())
    assert AutoModelForCausalLM.from_pretrained(sharded).num_parameters() == index["metadata"]["total_parameters"]
    hard = parents[0].local_folder()
    assert merge._merged("model.norm.weight", open_parents(hard, sharded, sharded), DARE, 0.5, 3).equal(
        merge._merged("model.norm.weight", open_parents(hard, Path(random_student), sharded), DARE, 0.5, 3)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_students_of_half_precision_stay_so_over_a_base_of_another_type(dtype: torch.dtype, tmp_path: Path, random_student: str) -> None:
    folders = [tmp_path / name for name in ("hard", "easy")]
    for number, folder in enumerate(folders):
        shutil.copytree(random_student, folder)
        moved(folder, number)
        save_file(
            {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
    opened = open_parents(folders[0], folders[1], Path(random_student))
    made = merge._merged("model.norm.weight", opened, Merging(), 0.5, 0)
    hard, easy = (load_file(folder / "model.safetensors")["model.norm.weight"].float() for folder in folders)
    assert made.dtype == dtype
    assert torch.equal(made, (hard + (easy - hard) / 2).to(dtype))


def test_a_tied_output_layer_may_be_stored_or_not(tmp_path: Path, random_student: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(random_student, base)
    stored = load_file(base / "model.safetensors")
    stored["lm_head.weight"] = stored["model.embed_tokens.weight"].clone()
    save_file(stored, base / "model.safetensors", metadata={"format": "pt"})
    student = Path(random_student)
    assert open_parents(student, student, base).forms == Weights(student).forms
    assert "lm_head.weight" not in open_parents(base, student, student).forms
    stored["lm_head.weight"] += 1
    save_file(stored, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="A tied output layer is not the embeddings"):
        open_parents(student, student, base)


def _without_a_tensor(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    del stored["model.norm.weight"]
    save_file(stored, folder / "model.safetensors")


def _with_a_tensor_more(folder: Path) -> None:
    save_file({**load_file(folder / "model.safetensors"), "more": torch.zeros(1)}, folder / "model.safetensors")


def _with_another_shape(folder: Path) -> None:
    save_file({**load_file(folder / "model.safetensors"), "model.norm.weight": torch.zeros(65)}, folder / "model.safetensors")


def _with_another_config(folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "num_key_value_heads": 1}))


def _with_another_template(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")


def _with_another_token(folder: Path) -> None:
    told = json.loads((folder / "tokenizer.json").read_text())
    last = max(told["model"]["vocab"], key=told["model"]["vocab"].get)
    told["model"]["vocab"]["another"] = told["model"]["vocab"].pop(last)
    told["model"]["merges"] = [
        pair for pair in told["model"]["merges"] if "".join(pair) != last and " ".join(pair).replace(" ", "") != last
    ]
    (folder / "tokenizer.json").write_text(json.dumps(told))


def _damaged(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _with_an_index_that_leads_out(folder: Path) -> None:
    (folder / weights.INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": "../other/model.safetensors"}}))


@pytest.mark.parametrize("role", ["easy", "base"])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without_a_tensor, r"The tensors of two models to be merged differ; seen: model\.norm\.weight is missing in {role};"),
        (_with_a_tensor_more, r"seen: more is in {role} alone;"),
        (_with_another_shape, r"model\.norm\.weight is F32 \[64\] in hard and F32 \[65\] in {role};"),
        (_with_another_config, r"The configs of two models to be merged differ; seen: hard and {role}: num_key_value_heads is 2 and 1;"),
        (_with_another_token, r"The tokenizers of two models to be merged differ; seen: hard and {role}: vocabulary"),
        (_damaged, "A model folder has no weights that can be read"),
        (_without_weights, "A model folder has no weights that can be read"),
        (_with_an_index_that_leads_out, "the index leads out of the folder"),
    ],
)
def test_models_that_do_not_belong_together_are_refused(
    spoil: Callable[[Path], None], told: str, role: str, tmp_path: Path, random_student: str
) -> None:
    folders = {name: tmp_path / name for name in ("hard", "easy", "base")}
    for folder in folders.values():
        shutil.copytree(random_student, folder)
    spoil(folders[role])
    with pytest.raises(TrainingError, match=told.replace("{role}", role)):
        open_parents(folders["hard"], folders["easy"], folders["base"])


def test_students_that_were_taught_with_another_chat_template_are_refused(tmp_path: Path, random_student: str) -> None:
    other = tmp_path / "easy"
    shutil.copytree(random_student, other)
    _with_another_template(other)
    with pytest.raises(TrainingError, match="hard and easy: chat template is"):
        open_parents(Path(random_student), other, Path(random_student))


def test_a_base_that_the_students_are_not_from_is_refused(
    store: Store, parents: tuple[Artefact, Artefact], random_student: str, tmp_path: Path, quiet: StageProgress
) -> None:
    other = tmp_path / "other"
    shutil.copytree(random_student, other)
    moved(other, 9)
    with pytest.raises(TrainingError, match="A student was not trained from the base it is to be merged over"):
        merge.run(store, "merged", *parents, str(other), Merging(), 0.2, 0, quiet)
    assert store.folders("students") == sorted(parent.folder for parent in parents)


def test_a_student_that_broke_is_not_merged(store: Store, random_student: str, quiet: StageProgress, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(random_student, broken)
    stored = load_file(broken / "model.safetensors")
    stored["model.norm.weight"][3] = float("nan")
    save_file(stored, broken / "model.safetensors", metadata={"format": "pt"})
    opened = open_parents(broken, Path(random_student), Path(random_student))
    with pytest.raises(TrainingError, match=r"A merged tensor holds numbers that are not finite; seen: model\.norm\.weight"):
        merge._merged("model.norm.weight", opened, Merging(), 0.2, 0)
