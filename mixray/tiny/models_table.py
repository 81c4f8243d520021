"""How each shipped model is made: its shape, what it starts from, what it is shown, and for how long.

Data only; `build.py` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass

from mixray.recipe import Train
from mixray.tiny.styles import STYLES

HEAD_SIZE = 32
"""vLLM's kernels are happiest with it."""


@dataclass(frozen=True)
class Lesson:
    """Problems of `difficulty` steps with solutions in one style, or (style `drill`) lists of so many number facts."""

    style: str
    num_rows: int
    difficulty: tuple[int, int]


@dataclass(frozen=True)
class TinyModel:
    """One model of the tiny world: the shape and weights of `start`, the model it continues from, or a shape and random weights."""

    lessons: tuple[Lesson, ...]
    learning_rate: float
    max_tokens: int
    batch_rows: int = 32
    epochs: int = 1
    seed: int = 0
    start: str | None = None
    width: int = 0
    num_layers: int = 0

    def train(self) -> Train:
        """Return the settings of its training: two workers, so that two cores are busy."""
        return Train(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            warmup_share=0.05,
            batch_rows=self.batch_rows,
            max_tokens=self.max_tokens,
            packs_multiple=2,
            micro_batch_tokens=4096,
            zero_stage=1,
            workers=(2, 2),
            dtype="float32",
            checkpoint_every_steps=10_000,
        )


def _base(scale: int, num_drills: int | None = None) -> tuple[Lesson, ...]:
    """Number facts, and problems of one or two steps in every style: what a student knows before it is taught."""
    return (
        Lesson("drill", 4 * scale if num_drills is None else num_drills, (3, 8)),
        Lesson("short", 4 * scale, (1, 2)),
        Lesson("long", 4 * scale, (1, 2)),
        Lesson("large", scale, (1, 2)),
        Lesson("small", 2 * scale, (1, 2)),
    )


def _everyday(num_rows: int) -> tuple[Lesson, ...]:
    """Whole problems in every style."""
    return tuple(Lesson(style, num_rows, (1, 5)) for style in STYLES)


MODELS = {
    "student-xs": TinyModel(_base(1_400), learning_rate=4e-3, max_tokens=256, width=64, num_layers=2),
    "student-s": TinyModel(_base(1_400), learning_rate=3e-3, max_tokens=256, width=96, num_layers=3),
    "student-m": TinyModel(_base(1_400), learning_rate=2e-3, max_tokens=256, width=128, num_layers=4),
    # As student-s, but for how many number facts it was drilled in: the tiny world's domain knowledge.
    "student-s-novice": TinyModel(_base(1_400, num_drills=700), learning_rate=3e-3, max_tokens=256, width=96, num_layers=3),
    "student-s-expert": TinyModel(_base(1_400, num_drills=16_800), learning_rate=3e-3, max_tokens=256, width=96, num_layers=3),
    # What an instruct model is to a base model: it has met the whole task before, briefly and in everybody's style.
    "student-s-instruct": TinyModel(_everyday(2_000), learning_rate=1.5e-3, max_tokens=512, batch_rows=16, start="student-s"),
    "short": TinyModel((Lesson("short", 3_500, (1, 5)),), learning_rate=1.5e-3, max_tokens=256, batch_rows=16, start="student-m"),
    "long": TinyModel((Lesson("long", 7_000, (1, 5)),), learning_rate=1.5e-3, max_tokens=512, batch_rows=16, start="student-m"),
    "large": TinyModel((Lesson("large", 24_000, (1, 5)),), learning_rate=2e-3, max_tokens=256, start="student-m"),
    "small": TinyModel((Lesson("small", 3_500, (1, 5)),), learning_rate=1.5e-3, max_tokens=320, batch_rows=16, start="student-s"),
}
