"""What models are called, and what their engines are told, wherever they are asked."""

from __future__ import annotations

import pytest

from mixray.engine import CPU_ARGUMENTS, student_arguments
from mixray.models import name_of
from mixray.recipe import Serve


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tiny:student-s", "student-s"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b-instruct"),
        ("runs/students/mix-0.2-1f3a/", "mix-0.2-1f3a"),
        ("/a/My  student!", "my-student"),
        ("Ä", "model"),
    ],
)
def test_a_model_without_a_name_is_called_by_the_end_of_its_path(model: str, name: str) -> None:
    assert name_of(model) == name


def test_a_students_engine_is_told_what_the_recipe_says_but_for_what_is_fixed() -> None:
    serve = Serve(max_model_len=64, kv_cache_bytes=9, engine={"max_num_seqs": 2, "max_loras": 3, "trust_remote_code": True})
    told = student_arguments(serve, {"max_loras": 1, "enable_lora": True})
    asked = {"max_num_seqs": 2, "max_model_len": 64, "kv_cache_memory_bytes": 9, "max_loras": 3, "enable_lora": True}
    assert told == {**CPU_ARGUMENTS, **asked, "trust_remote_code": False, "disable_log_stats": True}
    shares = [
        (each["tensor_parallel_size"], each["gpu_memory_utilization"]) for each in (student_arguments(Serve(num_gpus=n)) for n in (0.5, 2))
    ]
    assert shares == [(1, 0.45), (2, 0.9)]
