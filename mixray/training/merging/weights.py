"""The tensors of a model folder: read one at a time and written as a stream, so that no model is ever whole in memory.

In: safetensors files, one or several with an index. Out: the same layout, in shards where a file would be larger than 5 GB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixray.errors import TrainingError

if TYPE_CHECKING:
    import torch

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
BYTES = {**FLOATS, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Form:
    """What a tensor is before it is read: its type, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """How large it is."""
        return self.num_values * BYTES[self.dtype]

    @property
    def is_float(self) -> bool:
        """Whether it can be merged; other tensors are counters, masks and the like."""
        return self.dtype in FLOATS

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


class Weights:
    """The tensors of one model folder by name, none of them read yet.

    Args:
        folder: holds model.safetensors, or shards and their index.

    Raises:
        TrainingError: there is neither, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _files(folder)
        self.forms: dict[str, Form] = {}
        for path in dict.fromkeys(self.files.values()):
            self._look_into(path)

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        from safetensors import safe_open

        with safe_open(str(self.files[name]), framework="pt") as file:
            return file.get_tensor(name)

    def _look_into(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        wanted = [name for name, place in self.files.items() if place == path]
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in wanted:
                    part = file.get_slice(name)
                    self.forms[name] = Form(part.get_dtype(), tuple(part.get_shape()))
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                "Weights cannot be read", seen=str(path), rule=str(error).splitlines()[0], do="fetch or train the model again"
            ) from error
        strange = next((name for name in wanted if self.forms[name].dtype not in BYTES), None)
        if strange is not None:
            raise TrainingError(
                "Weights are of a type that is not merged",
                seen=f"{path}: {strange} is {self.forms[strange]}",
                rule=f"one of {', '.join(BYTES)}",
                do="use the model before it was quantised",
            )


def _files(folder: Path) -> dict[str, Path]:
    """Return the file of every tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        if (folder / INDEX).is_file():
            told = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            if any(Path(file).name != file for file in told.values()):
                raise ValueError("the index leads out of the folder")
            return {name: folder / file for name, file in sorted(told.items())}
        with safe_open(str(folder / WHOLE), framework="pt") as file:
            return dict.fromkeys(sorted(file.keys()), folder / WHOLE)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise TrainingError(
            "A model folder has no weights that can be read",
            seen=f"{folder}: {str(error).splitlines()[0]}",
            rule=f"{WHOLE}, or shards with {INDEX}",
            do="convert the weights to safetensors, or train the student again",
        ) from error


def write(folder: Path, forms: Mapping[str, Form], tensor: Callable[[str], torch.Tensor], shard_bytes: int = SHARD_BYTES) -> None:
    """Write a model's weights, asking for one tensor after another.

    Args:
        folder: where the files go.
        forms: every tensor to be; what `tensor` gives must be that.
        tensor: makes the tensor of a name.
        shard_bytes: no file is larger, but for a tensor that is larger by itself.
    """
    shards = list(_shards(forms, shard_bytes))
    total = len(shards)
    files = [WHOLE] if total == 1 else [f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)]
    for file, names in zip(files, shards, strict=True):
        _write_file(folder / file, {name: forms[name] for name in names}, tensor)
    if total > 1:
        sizes = {
            "total_parameters": sum(form.num_values for form in forms.values()),
            "total_size": sum(form.num_bytes for form in forms.values()),
        }
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        text = json.dumps({"metadata": sizes, "weight_map": weight_map}, indent=2, sort_keys=True)
        (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def _shards(forms: Mapping[str, Form], shard_bytes: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name in sorted(forms):
        if names and size + forms[name].num_bytes > shard_bytes:
            yield names
            names, size = [], 0
        names.append(name)
        size += forms[name].num_bytes
    yield names


def _write_file(path: Path, forms: Mapping[str, Form], tensor: Callable[[str], torch.Tensor]) -> None:
    """Write one file, header first: the library's own writer wants every tensor of the file at once."""
    import torch

    # Wide types first: each tensor then begins at a multiple of its type's width.
    order = sorted(forms, key=lambda name: (-BYTES[forms[name].dtype], name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in order:
        end = start + forms[name].num_bytes
        header[name] = {"dtype": forms[name].dtype, "shape": list(forms[name].shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            data = tensor(name).contiguous().reshape(-1).view(torch.uint8).numpy()
            if data.nbytes != forms[name].num_bytes:
                raise TrainingError("A tensor is not what was announced", seen=f"{name}: {data.nbytes} bytes", rule=str(forms[name]))
            file.write(data.data)
