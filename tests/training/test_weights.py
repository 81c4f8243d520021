"""Weights written as a stream are what the safetensors library reads: any types, any shapes, any shard size."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from mixray.training.merging.weights import INDEX, WHOLE, Form, Weights, write

TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64, "BOOL": torch.bool}
FORMS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.builds(Form, st.sampled_from(sorted(TYPES)), st.lists(st.integers(0, 5), max_size=3).map(tuple)),
    min_size=1,
    max_size=8,
)


def made(form: Form) -> torch.Tensor:
    return (torch.arange(form.num_values).reshape(form.shape) % 7).to(TYPES[form.dtype])


@given(FORMS, st.integers(1, 2000))
def test_what_is_written_is_read_again(forms: dict[str, Form], shard_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, forms, lambda name: made(forms[name]), shard_bytes)
        files = sorted(folder.glob("*.safetensors"))
        read = {name: tensor for file in files for name, tensor in load_file(file).items()}
        assert read.keys() == forms.keys()
        assert all(torch.equal(tensor, made(forms[name])) and tensor.dtype == TYPES[forms[name].dtype] for name, tensor in read.items())
        assert [file.name for file in files] == [WHOLE] if len(files) == 1 else (folder / INDEX).exists()
        for file in files:
            inside = load_file(file)
            assert len(inside) == 1 or sum(tensor.nbytes for tensor in inside.values()) <= shard_bytes
        opened = Weights(folder)
        assert opened.forms == forms
        assert all(torch.equal(opened.tensor(name), made(form)) for name, form in forms.items())


@given(FORMS)
def test_every_tensor_begins_at_a_multiple_of_its_width(forms: dict[str, Form]) -> None:
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), forms, lambda name: made(forms[name]))
        data = (Path(place) / WHOLE).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "pt"}
    for told in header.values():
        width = TYPES[told["dtype"]].itemsize
        assert (8 + size + told["data_offsets"][0]) % width == 0
