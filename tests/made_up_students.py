"""Students as their stage commits them, made up: the base with its weights moved a little, and the curve of a training nobody did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mixray import training
from mixray.recipe import Train
from mixray.store import Artefact, Store

CURVE = [3.5, 2.25, 1.125]


def moved(folder: Path, number: int, size: float = 0.02) -> None:
    """Move every weight of a model folder by a normal draw that depends on `number` alone."""
    generator = torch.Generator().manual_seed(number)
    tensors = load_file(folder / "model.safetensors")
    for name in sorted(tensors):
        tensors[name] = tensors[name] + (size * torch.randn(tensors[name].shape, generator=generator)).to(tensors[name].dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make_student(
    store: Store, name: str, mixture: Artefact, model: str, number: int = 1, seed: int = 0, older: bool = False, size: float = 0.02
) -> Artefact:
    """Commit a student, `size` away from its base; an `older` one tells its losses in a file of their own, and no base."""
    student = training.handle(store, name, mixture, model, Train(), seed)
    with student.staging() as staging:
        shutil.copytree(model, staging.folder, dirs_exist_ok=True)
        moved(staging.folder, number, size)
        (staging.folder / "README.md").write_text(f"# {name}\n\nA student trained by mixray.\n", encoding="utf-8")
        if older:
            staging.write_json("training_curve.json", {"loss": CURVE, "grad_norm": [1.0] * len(CURVE)})
        else:
            (staging.folder / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps()), encoding="utf-8")
            (staging.folder / "tensorboard").mkdir()
            (staging.folder / "tensorboard" / "events").write_text("drawn")
            (staging.folder / "adapter").mkdir()
            (staging.folder / "adapter" / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": model}))
            (staging.folder / "adapter" / "README.md").write_text(f"base_model: {model}")
        staging.outcome = {
            "num_steps": len(CURVE), "num_rows": 8, "num_packs": 6, "num_tokens": 432, "num_loss_tokens": 208, "seconds": 1.5,
            "first_loss": CURVE[0], "last_loss": CURVE[-1],
        }  # fmt: skip
        if not older:
            staging.outcome["base_model"] = model
    return student


def steps() -> list[dict[str, Any]]:
    """Rows of training.jsonl."""
    return [
        {
            "step": step, "loss": loss, "grad_norm": 1.0, "learning_rate": 1e-5, "num_tokens": 288, "num_loss_tokens": 138, "num_rows": 6,
            "seconds": 0.5, "tokens_per_second": 576.0, "mfu": None, "padding_share": 0.1, "peak_memory_bytes": 1 << 20,
        }
        for step, loss in enumerate(CURVE, start=1)
    ]  # fmt: skip
